//! Standard base64 as Go's decoder checks it: line ends anywhere, padding required, unused bits ignored, errors by
//! the place Go names.

/// Where the text stops being base64; `None` when it is all right.
pub fn base64_error(text: &[u8]) -> Option<usize> {
    let line_end = |at: usize| matches!(text.get(at), Some(b'\n' | b'\r'));
    let mut at = 0;
    loop {
        // One group of four.
        let mut place = 0;
        while place < 4 {
            let Some(&byte) = text.get(at) else {
                return (place > 0).then(|| at - place);
            };
            at += 1;
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' => place += 1,
                b'\n' | b'\r' => {}
                b'=' if place >= 2 => {
                    if place == 2 {
                        while line_end(at) {
                            at += 1;
                        }
                        match text.get(at) {
                            Some(b'=') => at += 1,
                            Some(_) => return Some(at - 1),
                            None => return Some(text.len()),
                        }
                    }
                    while line_end(at) {
                        at += 1;
                    }
                    return (at < text.len()).then_some(at);
                }
                _ => return Some(at - 1),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Recorded from Go 1.26.
    #[test]
    fn places_are_gos() {
        for (text, want) in [
            ("", None),
            ("YQ==", None),
            ("YQ=\n=\n", None),
            ("Y\nWJj", None),
            ("YR==", None),
            ("YQ", Some(0)),
            ("YWJjYQ", Some(4)),
            ("YQ=", Some(3)),
            ("YQ=Q", Some(2)),
            ("YQ===", Some(4)),
            ("Y Q=", Some(1)),
            ("Y===", Some(1)),
            ("data:x", Some(4)),
            ("YQ-_", Some(2)),
        ] {
            assert_eq!(base64_error(text.as_bytes()), want, "{text:?}");
        }
    }
}
