//! Decimal numbers, written digit by digit: `format!` costs a request hundreds of instructions.

/// Writes an integer in decimal.
pub fn write_number(out: &mut Vec<u8>, mut number: u64) {
    let (mut digits, mut first) = ([0; 20], 20);
    loop {
        first -= 1;
        digits[first] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return out.extend_from_slice(&digits[first..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::runtime::decimal::*;

    #[test]
    fn decimal_is_what_display_writes() {
        for number in [0, 1, 9, 10, 99, 100, 12_345, u64::from(u32::MAX), u64::MAX] {
            let mut out = b"x".to_vec();
            write_number(&mut out, number);
            assert_eq!(out, format!("x{number}").as_bytes());
        }
    }
}
