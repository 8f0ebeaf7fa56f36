//! Open-addressed array of keys and their times. Readers search it without a lock while one writer
//! changes it.
//!
//! An entry is a fingerprint and a *word*: the time XOR the *tag* of the fingerprint, a mix of its
//! bits. So a word is good for one key only. A compare-and-swap of the word charges a key if, and
//! only if, the entry is still that of the key and has the time that was judged. Without the tag,
//! an entry handed to another key with the same time would look unchanged, and in a flood many keys
//! have the same time. Words of two keys that lie at the same entry are equal with a probability
//! of about 2^-50, and a mistake needs this in the instant between a look and its charge.
//! (Chess programs store positions in this way: Hyatt and Mann, 2002.)
//!
//! A key lies at its home or behind it, with no free entry in between (linear probing). The array
//! grows by segments. A segment is not moved, and not freed before the array is, so readers need no
//! guard for the memory. What they read during a change may be wrong: `stripe.rs` detects that.

use std::{
    slice,
    sync::{
        OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

/// Entries of the first segment.
const FIRST_SEGMENT: usize = 8;
/// Stored for the fingerprint 0, which marks a free entry.
const ZERO: u64 = 0xd6e8_feb8_6659_fd93;

/// Fingerprint with its tag.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tagged {
    pub fingerprint: u64,
    tag: u64,
}

impl Tagged {
    pub fn new(fingerprint: u64) -> Self {
        let fingerprint = if fingerprint == 0 { ZERO } else { fingerprint };
        // Finalizer of SplitMix64 (Steele, Lea and Flood, 2014). It is a bijection, so tags of
        // different fingerprints differ.
        let tag = (fingerprint ^ fingerprint >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let tag = (tag ^ tag >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self { fingerprint, tag: tag ^ tag >> 31 }
    }

    /// Word of this key for a time.
    pub fn word(self, time: u64) -> u64 {
        time ^ self.tag
    }

    /// Time in a word of this key.
    pub fn time(self, word: u64) -> u64 {
        word ^ self.tag
    }

    /// Index of the entry where the search for this key begins, of `len` entries.
    fn home(self, len: usize) -> usize {
        // The tag as a fraction of 2^64, times `len`. Homes keep their order when the array grows,
        // so keys are spread in the order in which they lie in memory.
        let home = (u128::from(self.tag) * len as u128) >> 64;
        usize::try_from(home).unwrap_or(0)
    }
}

/// Word of a key, and its value when the key was found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found<'a> {
    pub word: &'a AtomicU64,
    pub value: u64,
}

/// Key with its time, or free.
// On a boundary of 16 bytes, so that no entry lies in two cache lines.
#[derive(Debug, Default)]
#[repr(align(16))]
struct Entry {
    /// 0 if the entry is free.
    fingerprint: AtomicU64,
    /// 0 if the entry is free, so that a charge of the previous key fails.
    word: AtomicU64,
}

impl Entry {
    fn key(&self) -> Option<Tagged> {
        let fingerprint = self.fingerprint.load(Ordering::Acquire);
        (fingerprint != 0).then(|| Tagged::new(fingerprint))
    }

    fn found(&self) -> Found<'_> {
        Found { word: &self.word, value: self.word.load(Ordering::Acquire) }
    }

    fn store(&self, key: Tagged, word: u64) {
        // The fingerprint last: a reader that finds it finds the word of the same key.
        self.word.store(word, Ordering::Release);
        self.fingerprint.store(key.fingerprint, Ordering::Release);
    }

    /// Frees the entry and returns its word, with all charges until now. A later one fails.
    fn take(&self) -> u64 {
        let word = self.word.swap(0, Ordering::AcqRel);
        self.fingerprint.store(0, Ordering::Release);
        word
    }

    /// Frees the entry if its word is still `word`.
    fn take_if(&self, word: u64) -> bool {
        let taken =
            self.word.compare_exchange(word, 0, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if taken {
            self.fingerprint.store(0, Ordering::Release);
        }
        taken
    }
}

/// Segment and offset of an entry. The first two segments have [`FIRST_SEGMENT`] entries each, the
/// next two twice as many, and so on: the array grows by about a third or a half.
struct Position {
    segment: usize,
    offset: usize,
    segment_len: usize,
}

impl Position {
    fn of(index: usize) -> Self {
        // Shifted by the two segments that would come before the first, so that each pair of
        // segments begins at a power of two: `index` 0 is 16, and the pairs begin at 16, 32, 64.
        let shifted = index + 2 * FIRST_SEGMENT;
        let pair = shifted.ilog2() - FIRST_SEGMENT.ilog2() - 1;
        let segment_len = FIRST_SEGMENT << pair;
        let is_second = shifted & segment_len != 0;
        Self {
            segment: 2 * pair as usize + usize::from(is_second),
            offset: shifted & (segment_len - 1),
            segment_len,
        }
    }
}

/// Array of entries. Only one thread at a time may call what changes it: `insert`, `remove` and
/// `grow`.
#[derive(Debug)]
pub(super) struct Entries {
    len: AtomicUsize,
    max_len: usize,
    segments: Box<[OnceLock<Box<[Entry]>>]>,
}

impl Entries {
    /// Creates an array without an entry, for at most `max_len`.
    pub fn new(max_len: usize) -> Self {
        let segments = Position::of(max_len.saturating_sub(1)).segment + 1;
        let segments = (0..segments).map(|_| OnceLock::new()).collect();
        Self { len: AtomicUsize::new(0), max_len, segments }
    }

    /// Returns the number of entries, free ones included.
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    /// Finds a key.
    pub fn find(&self, key: Tagged) -> Option<Found<'_>> {
        for entry in self.from(key.home(self.len())) {
            match entry.fingerprint.load(Ordering::Acquire) {
                0 => return None,
                found if found == key.fingerprint => return Some(entry.found()),
                _ => {}
            }
        }
        None
    }

    /// Keys that lie at the home of `key` and behind it, across the end of the array.
    pub fn near(&self, key: Tagged) -> impl Iterator<Item = (Tagged, Found<'_>)> {
        self.from(key.home(self.len())).filter_map(|entry| Some((entry.key()?, entry.found())))
    }

    /// All keys.
    pub fn all(&self) -> impl Iterator<Item = (Tagged, Found<'_>)> {
        self.from(0).filter_map(|entry| Some((entry.key()?, entry.found())))
    }

    /// Stores a key that is not there in the first free entry. No other key is touched, so a reader
    /// is right before and after.
    pub fn insert(&self, key: Tagged, word: u64) {
        let mut near = self.from(key.home(self.len()));
        if let Some(free) = near.find(|entry| entry.key().is_none()) {
            free.store(key, word);
        }
    }

    /// Removes a key if its word is still `word`, or whatever it is. Returns true if it did.
    pub fn remove(&self, key: Tagged, word: Option<u64>) -> bool {
        let home = key.home(self.len());
        let found = self
            .from(home)
            .enumerate()
            .find(|(_, entry)| entry.fingerprint.load(Ordering::Acquire) == key.fingerprint);
        let Some((steps, removed)) = found else { return false };
        let is_taken = match word {
            Some(word) => removed.take_if(word),
            None => {
                removed.take();
                true
            }
        };
        if is_taken {
            self.close(wrap(home + steps, self.len()), removed);
        }
        is_taken
    }

    /// Moves keys into a gap, so that none has a free entry between its home and itself (Knuth, The
    /// Art of Computer Programming, volume 3, section 6.4, algorithm R).
    fn close<'a>(&'a self, gap: usize, mut free: &'a Entry) {
        let len = self.len();
        let mut index = gap;
        let mut from_gap = 0;
        // The gap itself comes last, so this ends also where no other entry is free.
        for entry in self.from(wrap(gap + 1, len)) {
            let Some(key) = entry.key() else { return };
            index = wrap(index + 1, len);
            from_gap += 1;
            // A search for the key begins at its home. It passes the gap if the home is as far
            // away, or farther.
            let from_home = wrap(index + len - key.home(len), len);
            if from_gap <= from_home {
                free.store(key, entry.take());
                free = entry;
                from_gap = 0;
            }
        }
    }

    /// Adds a segment and spreads the keys over all entries.
    pub fn grow(&self) {
        let len = self.len();
        let position = Position::of(len);
        let longer = (len + position.segment_len).min(self.max_len);
        if let Some(segment) = self.segments.get(position.segment) {
            segment.get_or_init(|| (len..longer).map(|_| Entry::default()).collect());
        }
        let taken: Vec<(Tagged, u64)> =
            self.from(0).filter_map(|entry| Some((entry.key()?, entry.take()))).collect();
        self.len.store(longer, Ordering::Release);
        taken.into_iter().for_each(|(key, word)| self.insert(key, word));
    }

    /// Returns each entry once, beginning at this index, across the end of the array.
    fn from(&self, index: usize) -> Walk<'_> {
        let Position { segment, offset, .. } = Position::of(index);
        let entries = self.segment(segment).and_then(|entries| entries.get(offset..));
        Walk { array: self, segment, entries: entries.unwrap_or(&[]).iter(), left: self.len() }
    }

    fn segment(&self, segment: usize) -> Option<&[Entry]> {
        self.segments.get(segment)?.get().map(|entries| &**entries)
    }
}

/// Continues an index below `2 * len` across the end of an array of `len`. A remainder would
/// divide.
fn wrap(index: usize, len: usize) -> usize {
    if index < len { index } else { index - len }
}

/// Walk over the entries of an array.
struct Walk<'a> {
    array: &'a Entries,
    segment: usize,
    entries: slice::Iter<'a, Entry>,
    left: usize,
}

impl<'a> Iterator for Walk<'a> {
    type Item = &'a Entry;

    fn next(&mut self) -> Option<&'a Entry> {
        self.left = self.left.checked_sub(1)?;
        if let Some(entry) = self.entries.next() {
            return Some(entry);
        }
        self.segment += 1;
        let next = self.array.segment(self.segment).or_else(|| {
            self.segment = 0;
            self.array.segment(0)
        });
        self.entries = next.unwrap_or(&[]).iter();
        self.entries.next()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn times(entries: &Entries) -> BTreeMap<u64, u64> {
        entries.all().map(|(key, found)| (key.fingerprint, key.time(found.value))).collect()
    }

    fn time(entries: &Entries, fingerprint: u64) -> Option<u64> {
        let key = Tagged::new(fingerprint);
        entries.find(key).map(|found| key.time(found.value))
    }

    /// Fingerprints whose search begins at one and the same entry, whatever the length.
    fn of_one_home() -> impl Iterator<Item = u64> {
        (1..).filter(|fingerprint| Tagged::new(*fingerprint).home(1 << 12) == 0)
    }

    #[test]
    fn array_grows_by_about_half_at_most_and_keeps_every_time() {
        let entries = Entries::new(20_000);
        let mut stored = 0_u64;
        while entries.len() < 20_000 {
            let before = entries.len();
            entries.grow();
            assert!(entries.len() <= before + before / 2 + 8, "{before}");
            let room = entries.len() as u64 * 4 / 5;
            for fingerprint in stored..room {
                let key = Tagged::new(fingerprint);
                entries.insert(key, key.word(fingerprint + 7));
            }
            stored = room;
            assert!((0..stored).all(|key| time(&entries, key) == Some(key + 7)));
        }
        entries.grow();
        assert_eq!((entries.len(), times(&entries).len()), (20_000, 16_000));
    }

    #[test]
    fn keys_of_one_home_are_kept_apart() {
        let entries = Entries::new(64);
        let keys: Vec<u64> = of_one_home().take(40).collect();
        for (count, fingerprint) in keys.iter().enumerate() {
            if count * 5 >= entries.len() * 4 {
                entries.grow();
            }
            let key = Tagged::new(*fingerprint);
            entries.insert(key, key.word(count as u64));
        }
        let found: Vec<_> = keys.iter().map(|key| time(&entries, *key)).collect();
        assert_eq!(found, (0..40).map(Some).collect::<Vec<_>>());
    }

    /// Random steps beside a map: keys of a crowded home and others, in an array so short that
    /// searches go across its end.
    #[test]
    fn array_is_a_map_whatever_is_removed() {
        let mut dice = 1_u64;
        let mut roll = move |sides: usize| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            usize::try_from(dice >> 33).expect("31 bits") % sides
        };
        let keys: Vec<u64> = of_one_home().take(8).chain(0..24).collect();
        for max_len in [8, 16, 21, 40] {
            let (entries, mut map) = (Entries::new(max_len), BTreeMap::new());
            for step in 1..4_000_u64 {
                let fingerprint = keys[roll(keys.len())];
                let key = Tagged::new(fingerprint);
                let is_full = (map.len() + 1) * 5 > entries.len() * 4;
                if roll(2) == 0 {
                    let word = time(&entries, fingerprint).map(|time| key.word(time));
                    assert!(!entries.remove(key, Some(key.word(step))), "it has another time");
                    let removed = entries.remove(key, word.filter(|_| roll(2) == 0));
                    assert_eq!(removed, map.remove(&key.fingerprint).is_some());
                } else if is_full && entries.len() < max_len {
                    entries.grow();
                } else if !is_full && !map.contains_key(&key.fingerprint) {
                    entries.insert(key, key.word(step));
                    map.insert(key.fingerprint, step);
                }
                assert_eq!(times(&entries), map);
                assert!(keys.iter().all(|key| {
                    time(&entries, *key) == map.get(&Tagged::new(*key).fingerprint).copied()
                }));
            }
        }
    }

    #[test]
    fn fingerprint_zero_is_a_key_like_others() {
        let entries = Entries::new(8);
        entries.grow();
        assert_eq!(time(&entries, 0), None);
        let zero = Tagged::new(0);
        entries.insert(zero, zero.word(5));
        assert_eq!((time(&entries, 0), time(&entries, 1)), (Some(5), None));
        assert!(entries.remove(zero, None));
        assert_eq!((time(&entries, 0), times(&entries).len()), (None, 0));
    }

    #[test]
    fn charge_of_a_key_that_is_gone_fails_even_if_the_next_has_its_time() {
        let entries = Entries::new(1);
        entries.grow();
        let (before, after) = (Tagged::new(1), Tagged::new(2));
        entries.insert(before, before.word(100));
        let Found { word, value } = entries.find(before).expect("it is stored");
        let charge = || {
            let next = before.word(200);
            word.compare_exchange(value, next, Ordering::AcqRel, Ordering::Acquire).is_ok()
        };
        assert!(entries.remove(before, Some(value)));
        assert!(!charge(), "a free entry");
        entries.insert(after, after.word(100));
        assert!(!charge(), "another key");
        assert_eq!((time(&entries, 1), time(&entries, 2)), (None, Some(100)));
    }

    /// A charge that was judged before a change comes after it.
    #[test]
    fn charge_of_a_key_that_moved_fails_or_is_seen() {
        let entries = Entries::new(1_000);
        let mut count = 0_u64;
        let mut charges = [0, 0];
        while entries.len() < 1_000 {
            entries.grow();
            let room = entries.len() as u64 * 4 / 5;
            for key in (count..room).map(Tagged::new) {
                entries.insert(key, key.word(0));
            }
            count = room;
            let judged: Vec<_> = entries.all().collect();
            entries.grow();
            entries.remove(judged[0].0, None);
            for (key, Found { word, value }) in &judged[1..] {
                let next = key.word(key.time(*value) + 1);
                let charged =
                    word.compare_exchange(*value, next, Ordering::AcqRel, Ordering::Acquire);
                charges[usize::from(charged.is_ok())] += 1;
                let value = charged.map_or(*value, |_| next);
                assert_eq!(entries.find(*key).map(|found| found.value), Some(value));
            }
        }
        assert!(charges[0] > 100 && charges[1] > 0, "{charges:?}");
    }
}
