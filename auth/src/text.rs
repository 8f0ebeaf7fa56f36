//! Forms of text in which names, addresses and passwords are compared, so that neither a keyboard
//! nor a database decides.

use unicode_normalization::{UnicodeNormalization as _, is_nfc};

/// The same letters in one form, however a keyboard makes them (NFC, UAX #15).
#[must_use]
pub fn in_nfc(text: String) -> String {
    if is_nfc(&text) { text } else { text.nfc().collect() }
}

/// The form in which names and addresses are compared: NFC (UAX #15) in lower case.
#[must_use]
pub fn canonical(text: &str) -> String {
    text.nfc().collect::<String>().to_lowercase()
}
