//! State file: debts of the zones, for a restart and for a new binary that takes over.
//!
//! Guarantees: a file is complete or absent. It is written under a temporary name beside its place,
//! synced, renamed, and its directory is synced. Only its owner can read it, as it holds the seeds.
//! Bytes that are damaged, cut or of another version are an error, never a wrong debt. Debts
//! continue to be worked off while the process is stopped. All numbers are little-endian.

use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    hash::{BuildHasher, Hasher, RandomState},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use siphasher::sip::SipHasher13;

use crate::limit::{Millis, Seed, Snapshot, Zone, ZoneSettings};

/// First bytes of a state; the last two digits are the version of its format.
const MAGIC: &[u8; 8] = b"weirst02";
/// Shortest state, in bytes: magic, time, number of zones, checksum.
const SHORTEST: usize = 8 + 8 + 4 + 8;
/// Largest state that is read, in bytes.
const LARGEST: u64 = 4 << 30;

/// Debts of all zones at one instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedState {
    /// Time of the copy, in whole milliseconds since 1970.
    pub taken_ms: u64,
    /// Debts by zone.
    pub zones: Vec<Snapshot>,
}

/// Reason why bytes are not a state.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The file cannot be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The bytes are something else, or of another version.
    #[error("not a state file of this version of weir")]
    Foreign,
    /// The bytes differ from what was written.
    #[error("the state file is damaged")]
    Damaged,
}

impl SavedState {
    /// Copies the debts of `zones` at `now`, which is `wall` on the wall clock.
    #[must_use]
    pub fn take(zones: &[Arc<Zone>], now: Millis, wall: SystemTime) -> Self {
        let zones = zones.iter().map(|zone| Snapshot::take(zone, now)).collect();
        Self { taken_ms: since_1970(wall), zones }
    }

    /// Builds zones with these settings and the saved debts, less what was worked off until `wall`.
    /// `now` is the time on the clock of the zones. A wall clock that was set back works off
    /// nothing.
    #[must_use]
    pub fn revive(
        mut self,
        settings: &[ZoneSettings],
        now: Millis,
        wall: SystemTime,
    ) -> Vec<Arc<Zone>> {
        // Debts are worked off by real time, so the time between the two processes counts.
        let away = Duration::from_millis(since_1970(wall).saturating_sub(self.taken_ms));
        let mut revived = |settings: &ZoneSettings| {
            // Found by name: the order of zones in the file may have changed.
            let known = self.zones.iter().position(|snapshot| snapshot.zone == settings.name);
            let Some(snapshot) = known.map(|index| self.zones.swap_remove(index).after(away))
            else {
                return Zone::new(settings.clone());
            };
            // Fingerprints of another key say nothing about the new one.
            if snapshot.key != settings.key.digest() {
                tracing::warn!(zone = %settings.name, "zone key changed; zone starts empty");
                return Zone::new(settings.clone());
            }
            // The fingerprints were made with this seed. With another one no debt would be
            // found again.
            let zone = Zone::with_seed(settings.clone(), snapshot.seed);
            if let Err(error) = snapshot.restore(&zone, now) {
                tracing::error!(%error, "cannot restore zone; zone starts empty");
            }
            zone
        };
        settings.iter().map(|settings| Arc::new(revived(settings))).collect()
    }

    /// Encodes the state.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(self.taken_ms.to_le_bytes());
        bytes.extend(size(self.zones.len()).to_le_bytes());
        for Snapshot { zone, seed, key, debts } in &self.zones {
            bytes.extend(size(zone.len()).to_le_bytes());
            bytes.extend(zone.as_bytes());
            bytes.extend(seed.0.iter().flat_map(|half| half.to_le_bytes()));
            bytes.extend(key.to_le_bytes());
            bytes.extend((debts.len() as u64).to_le_bytes());
            bytes.extend(
                debts
                    .iter()
                    .flat_map(|(key, debt)| [key, debt])
                    .flat_map(|half| half.to_le_bytes()),
            );
        }
        let sum = checksum(&bytes);
        bytes.extend(sum.to_le_bytes());
        bytes
    }

    /// Decodes a state.
    ///
    /// # Errors
    /// [`StateError::Foreign`] and [`StateError::Damaged`].
    pub fn decode(bytes: &[u8]) -> Result<Self, StateError> {
        // The magic before the checksum: another version is not damaged, and gets its own message.
        if !bytes.starts_with(MAGIC) {
            return Err(StateError::Foreign);
        }
        // A file that is cut right behind the magic has no checksum to compare.
        if bytes.len() < SHORTEST {
            return Err(StateError::Damaged);
        }
        let (body, sum) = bytes.split_at(bytes.len() - 8);
        if sum != checksum(body).to_le_bytes() {
            return Err(StateError::Damaged);
        }
        let mut left = Left(&body[MAGIC.len()..]);
        let state = left.state().ok_or(StateError::Damaged)?;
        // Bytes that are left mean another form, whatever the checksum says.
        if left.0.is_empty() { Ok(state) } else { Err(StateError::Damaged) }
    }

    /// Reads a file; none if it does not exist yet.
    ///
    /// # Errors
    /// When it cannot be read or holds something else.
    pub fn load(path: &Path) -> Result<Option<Self>, StateError> {
        match fs::metadata(path) {
            // Reading a FIFO would block.
            Ok(metadata) if !metadata.is_file() => {
                return Err(io::Error::other("not a regular file").into());
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let (file, mut bytes) = (File::open(path)?, Vec::new());
        // A bound, because the path may lead to a file that is not ours.
        file.take(LARGEST).read_to_end(&mut bytes)?;
        Self::decode(&bytes).map(Some)
    }

    /// Writes the file beside its place first, so that a complete one exists at every instant.
    ///
    /// # Errors
    /// When it cannot be written; the previous file stays.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        let mut beside = Beside::create(path)?;
        beside.file.write_all(&self.encode())?;
        // Before the rename. Otherwise a crash could leave the name with incomplete content.
        beside.file.sync_all()?;
        beside.move_to(path)
    }

    /// Checks whether a state can be written there, by creating and removing a temporary file.
    ///
    /// # Errors
    /// The reason why it cannot.
    pub fn try_out(path: &Path) -> io::Result<()> {
        Beside::create(path).map(drop)
    }

    /// Removes temporary files of interrupted writes. A process that is writing now gets an error
    /// and tries again.
    pub fn tidy(path: &Path) {
        let Some(name) = path.file_name().and_then(OsStr::to_str) else { return };
        let is_left = |found: &str| {
            let middle = found.strip_prefix(name).and_then(|rest| rest.strip_suffix(NEW));
            // Only names that `Beside::create` makes: other files with this prefix are not ours.
            middle.is_some_and(|middle| {
                middle.bytes().all(|byte| byte == b'.' || byte.is_ascii_hexdigit())
            })
        };
        let found = fs::read_dir(folder_of(path)).into_iter().flatten().flatten();
        for entry in found.filter(|entry| entry.file_name().to_str().is_some_and(is_left)) {
            if let Err(error) = fs::remove_file(entry.path()) {
                tracing::warn!(%error, file = %entry.path().display(), "cannot remove a temporary \
                    file of an earlier write");
            }
        }
    }
}

/// Suffix of a file that is not in its place yet.
const NEW: &str = ".new";

/// Temporary file beside its place, to be moved there. It is removed if it is dropped before.
struct Beside {
    file: File,
    path: PathBuf,
}

impl Beside {
    /// Creates a new file that only its owner can read, with a name that no other process has: an
    /// old and a new process may write at the same time.
    fn create(of: &Path) -> io::Result<Self> {
        // A random number of the standard library, which needs no other source.
        let number = RandomState::new().build_hasher().finish();
        let mut path = of.as_os_str().to_owned();
        path.push(format!(".{number:016x}{NEW}"));
        // `create_new` does not follow a link that another user may have placed there.
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Self { file, path: path.into() })
    }

    fn move_to(self, path: &Path) -> io::Result<()> {
        fs::rename(&self.path, path)?;
        // The rename itself is in the directory, which is synced apart from the file.
        match File::open(folder_of(path))?.sync_all() {
            // Some file systems cannot sync a directory.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported
                ) =>
            {
                Ok(())
            }
            outcome => outcome,
        }
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // After the move there is nothing to remove.
        let _ = fs::remove_file(&self.path);
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Rest of a state that is still to be read.
struct Left<'a>(&'a [u8]);

impl<'a> Left<'a> {
    fn state(&mut self) -> Option<SavedState> {
        let taken_ms = self.u64()?;
        // The count is not trusted: no memory is reserved by it, and the first zone that is cut
        // ends it.
        let zones = (0..self.u32()?).map(|_| self.zone()).collect::<Option<_>>()?;
        Some(SavedState { taken_ms, zones })
    }

    fn zone(&mut self) -> Option<Snapshot> {
        let length = usize::try_from(self.u32()?).ok()?;
        let zone = str::from_utf8(self.bytes(length)?).ok()?.into();
        let seed = Seed([self.u64()?, self.u64()?]);
        let key = self.u64()?;
        let count = usize::try_from(self.u64()?).ok()?;
        // A count of damaged bytes could overflow. `bytes` then checks it against what is there.
        let debts = self.bytes(count.checked_mul(16)?)?;
        let debts =
            debts.chunks_exact(16).map(|debt| Some((Left(debt).u64()?, Left(&debt[8..]).u64()?)));
        Some(Snapshot { zone, seed, key, debts: debts.collect::<Option<_>>()? })
    }

    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, left) = self.0.split_at_checked(count)?;
        self.0 = left;
        Some(taken)
    }

    fn u32(&mut self) -> Option<u32> {
        self.bytes(4)?.try_into().ok().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.bytes(8)?.try_into().ok().map(u64::from_le_bytes)
    }
}

fn since_1970(wall: SystemTime) -> u64 {
    let since = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Names and zones are bounded by a configuration of 1 MiB.
fn size(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// Checksum against damage, not against forgery: a writer of the file can also write the sum.
fn checksum(bytes: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(bytes);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use crate::{
        limit::{Key, Part, Rule, RuleSettings, zone::Intent},
        process::state::*,
    };

    fn settings(name: &str) -> ZoneSettings {
        let rate = "1r/s".parse().expect("a rate");
        ZoneSettings {
            name: name.into(),
            key: Key::of(vec![Part::ClientIp]),
            rate,
            capacity: 100,
            exempt: Vec::new(),
        }
    }

    /// State of two zones, the first of which is owed three seconds.
    fn state(wall: SystemTime) -> SavedState {
        let zones = [Arc::new(Zone::new(settings("a"))), Arc::new(Zone::new(settings("b")))];
        let rule = Rule::new(Arc::clone(&zones[0]), RuleSettings::burst(9)).expect("a rule");
        for _ in 0..3 {
            let _ = rule.decide(7, Millis(5_000), Intent::Charge);
        }
        SavedState::take(&zones, Millis(5_000), wall)
    }

    #[test]
    fn state_decodes_only_what_was_encoded() {
        let state = state(SystemTime::now());
        let bytes = state.encode();
        assert_eq!(SavedState::decode(&bytes).expect("a state"), state);
        for cut in 0..bytes.len() {
            assert!(SavedState::decode(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        for place in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[place] ^= 0x10;
            assert!(SavedState::decode(&bytes).is_err(), "damaged at {place}");
        }
    }

    #[test]
    fn debts_are_worked_off_while_nobody_runs() {
        let wall = SystemTime::now();
        let owing = |away| {
            let zones = state(wall).revive(
                &[settings("b"), settings("a"), settings("new")],
                Millis(40),
                wall + away,
            );
            let rule = Rule::new(Arc::clone(&zones[1]), RuleSettings::burst(9)).expect("a rule");
            rule.decide(7, Millis(40), Intent::Look).wait.0
        };
        assert_eq!(owing(Duration::ZERO), 3_000);
        assert_eq!(owing(Duration::from_millis(1_250)), 1_750);
        assert_eq!(owing(Duration::from_secs(3)), 0);
    }

    #[test]
    fn zone_counted_by_another_key_starts_empty() {
        let wall = SystemTime::now();
        let other = |part: &str| ZoneSettings {
            key: Key::of(vec![part.parse().expect("a part")]),
            ..settings("a")
        };
        let owing = |settings: ZoneSettings| {
            let zones = state(wall).revive(&[settings], Millis(40), wall);
            zones[0].debt_ticks(7, Millis(40))
        };
        assert_eq!(
            [owing(settings("a")), owing(other("header:x-api-key")), owing(other("host"))],
            [3_000, 0, 0]
        );
        assert_eq!(
            owing(ZoneSettings {
                key: Key { ipv4_prefix: 24, ..settings("a").key },
                ..settings("a")
            }),
            0
        );
        assert_eq!(
            owing(ZoneSettings { rate: "3r/s".parse().expect("a rate"), ..settings("a") }),
            9_000
        );
    }

    #[test]
    fn state_clock_set_back_works_off_nothing() {
        let wall = SystemTime::now();
        let zones =
            state(wall).revive(&[settings("a")], Millis::ZERO, wall - Duration::from_secs(3600));
        let rule = Rule::new(Arc::clone(&zones[0]), RuleSettings::burst(9)).expect("a rule");
        assert_eq!(rule.decide(7, Millis::ZERO, Intent::Look).wait.0, 3_000);
    }

    #[test]
    fn state_file_is_private_and_reads_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("zones.bin");
        assert!(SavedState::load(&path).expect("no file is fine").is_none());
        let state = state(SystemTime::now());
        state.save(&path).expect("a file");
        assert_eq!(SavedState::load(&path).expect("a state"), Some(state));
        let mode = fs::metadata(&path).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::write(&path, "something else").expect("a file");
        assert!(matches!(SavedState::load(&path), Err(StateError::Foreign)));
    }

    #[test]
    fn file_is_its_owners_whatever_an_earlier_write_has_left() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("zones.bin");
        let beside = ["zones.bin.new", "zones.bin.00ff00ff00ff00ff.new"]
            .map(|name| folder.path().join(name));
        let others = ["zones.bin.bak", "zones.bin.old.new", "other.bin.new"]
            .map(|name| folder.path().join(name));
        for left in beside.iter().chain(&others) {
            fs::write(left, "half a state").expect("a file");
            fs::set_permissions(left, fs::Permissions::from_mode(0o666)).expect("a file");
        }
        SavedState::tidy(&path);
        assert_eq!(beside.each_ref().map(|left| left.exists()), [false; 2]);
        fs::write(&beside[0], "half a state").expect("a file");
        fs::set_permissions(&beside[0], fs::Permissions::from_mode(0o666)).expect("a file");
        state(SystemTime::now()).save(&path).expect("a file");
        assert_eq!(fs::metadata(&path).expect("a file").permissions().mode() & 0o777, 0o600);
        let names = fs::read_dir(folder.path()).expect("a folder").count();
        assert_eq!(names, 2 + others.len());
    }

    #[test]
    fn two_writes_at_once_share_no_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("zones.bin");
        let (one, other) =
            (Beside::create(&path).expect("a file"), Beside::create(&path).expect("a file"));
        assert_ne!(one.path, other.path);
        drop((one, other));
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0);
        assert!(SavedState::try_out(&folder.path().join("no/zones.bin")).is_err());
    }

    #[test]
    fn pipe_in_place_of_a_file_is_not_waited_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("zones.bin");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RUSR).expect("a pipe");
        assert!(matches!(SavedState::load(&path), Err(StateError::Io(_))));
    }
}
