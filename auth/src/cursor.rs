//! End of a page of a list: an opaque text that leads to the next page, whatever was added
//! meanwhile.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

/// A text that is not a cursor. Reads on from the name of what it was meant for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a cursor of this list")]
pub struct NotACursor;

/// The last row of a page, newest first: the next page holds what is older.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// Microseconds since 1970.
    pub created_us: i64,
    /// Breaks ties.
    pub id: Uuid,
}

impl Cursor {
    /// Before the first row.
    pub const START: Self = Self { created_us: i64::MAX / 2, id: Uuid::max() };

    /// As it stands in a query.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&self.created_us.to_be_bytes());
        bytes[8..].copy_from_slice(self.id.as_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads what [`Cursor::encode`] wrote.
    ///
    /// # Errors
    /// It is not ours.
    pub fn decode(text: &str) -> Result<Self, NotACursor> {
        let bytes: [u8; 24] =
            URL_SAFE_NO_PAD.decode(text).ok().and_then(|b| b.try_into().ok()).ok_or(NotACursor)?;
        let (time, id) = bytes.split_at(8);
        let created_us = i64::from_be_bytes(time.try_into().map_err(|_| NotACursor)?);
        // A client can write any number here, and the database adds it to a time that could
        // overflow.
        if !(0..=Self::START.created_us).contains(&created_us) {
            return Err(NotACursor);
        }
        Ok(Self { created_us, id: Uuid::from_slice(id).map_err(|_| NotACursor)? })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::Cursor;

    proptest! {
        #[test]
        fn cursor_that_is_written_is_read(created_us in 0..=i64::MAX / 2, id: [u8; 16]) {
            let cursor = Cursor { created_us, id: Uuid::from_bytes(id) };
            prop_assert_eq!(Cursor::decode(&cursor.encode()), Ok(cursor));
        }

        #[test]
        fn cursor_of_any_text_is_no_panic(text in ".{0,40}") {
            let _ = Cursor::decode(&text);
        }
    }

    #[test]
    fn cursor_with_a_time_that_no_row_has_is_refused() {
        assert!(Cursor::decode(&Cursor { created_us: -1, id: Uuid::nil() }.encode()).is_err());
        assert!(
            Cursor::decode(&Cursor { created_us: i64::MAX, id: Uuid::nil() }.encode()).is_err()
        );
    }
}
