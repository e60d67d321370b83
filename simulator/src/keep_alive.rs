//! `keep_alive`: how long an idle model stays loaded. Numbers are seconds, strings are Go durations,
//! anything negative is for ever.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// How long a model stays loaded once it is idle. Ordered: the shortest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeepAlive {
    /// This long; zero unloads when idle.
    For(Duration),
    /// Until something else needs the room.
    Forever,
}

/// The longest duration Go can hold, 2^63 - 1 ns: about 292 years.
pub const GO_FOREVER: Duration = Duration::from_nanos(i64::MAX as u64);

impl KeepAlive {
    /// What Ollama uses when nothing is said.
    pub const DEFAULT: Self = Self::For(Duration::from_secs(300));

    /// A JSON number: seconds.
    pub fn from_seconds(seconds: f64) -> Self {
        if seconds < 0.0 {
            return Self::Forever;
        }
        // NaN cannot come out of JSON; what is too large for Go is for ever.
        Duration::try_from_secs_f64(seconds).map_or(Self::Forever, |d| Self::For(d.min(GO_FOREVER)))
    }

    /// A JSON string: a Go duration. The error is Go's text.
    pub fn from_go(text: &str) -> Result<Self, String> {
        let nanos = parse_go_duration(text)?;
        Ok(u64::try_from(nanos).map_or(Self::Forever, |nanos| Self::For(Duration::from_nanos(nanos))))
    }

    /// Whether the model leaves as soon as it is idle.
    pub fn is_zero(self) -> bool {
        self == Self::For(Duration::ZERO)
    }

    /// The time it stays, with Go's longest for "for ever".
    pub fn duration(self) -> Duration {
        match self {
            Self::For(duration) => duration,
            Self::Forever => GO_FOREVER,
        }
    }
}

impl fmt::Display for KeepAlive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::For(duration) => write!(f, "{}ms", duration.as_millis()),
            Self::Forever => f.write_str("-1s"),
        }
    }
}

impl FromStr for KeepAlive {
    type Err = String;

    /// As the setting `OLLAMA_KEEP_ALIVE`: a Go duration or a bare number of seconds.
    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<f64>() {
            Ok(seconds) if seconds.is_finite() => Ok(Self::from_seconds(seconds)),
            _ => Self::from_go(text),
        }
    }
}

/// Go's `time.ParseDuration`, in nanoseconds.
fn parse_go_duration(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {}", quote(text));
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (whole, after) = leading_digits(rest);
        let mut digits = !whole.is_empty();
        let mut number: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| invalid())? };
        if number > 1 << 63 {
            return Err(invalid());
        }
        rest = after;
        let mut fraction = "";
        if let Some(after) = rest.strip_prefix('.') {
            (fraction, rest) = leading_digits(after);
            digits |= !fraction.is_empty();
        }
        if !digits {
            return Err(invalid());
        }
        let end = rest.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(rest.len());
        let (unit, after) = rest.split_at(end);
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration {}", quote(text)));
        }
        rest = after;
        let scale: u64 = match unit {
            "ns" => 1,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => {
                return Err(format!("time: unknown unit {} in duration {}", quote(unit), quote(text)));
            }
        };
        number = number.checked_mul(scale).filter(|n| *n <= 1 << 63).ok_or_else(invalid)?;
        number = number.saturating_add(part_of(fraction, scale));
        total = total.checked_add(number).filter(|n| *n <= 1 << 63).ok_or_else(invalid)?;
    }
    if negative {
        return Ok(i64::try_from(total).map_or(i64::MIN, |n| -n));
    }
    i64::try_from(total).map_err(|_| invalid())
}

/// `0.fraction * scale`, rounded down. More than 18 digits cannot change the result.
fn part_of(fraction: &str, scale: u64) -> u64 {
    let digits = &fraction[..fraction.len().min(18)];
    let Ok(value) = digits.parse::<u64>() else { return 0 };
    let divisor = 10u128.pow(u32::try_from(digits.len()).unwrap_or(18));
    u64::try_from(u128::from(value) * u128::from(scale) / divisor).unwrap_or(0)
}

fn leading_digits(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

/// As Go's package time quotes: byte by byte, what is not printable ASCII as `\xNN`.
fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend(['\\', char::from(byte)]),
            b' '..=0x7f => out.push(char::from(byte)),
            _ => out.push_str(&format!("\\x{byte:02x}")),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> KeepAlive {
        KeepAlive::For(Duration::from_millis(ms))
    }

    #[test]
    fn numbers_are_seconds() {
        assert_eq!(KeepAlive::from_seconds(0.0), ms(0));
        assert_eq!(KeepAlive::from_seconds(1.5), ms(1500));
        assert_eq!(KeepAlive::from_seconds(-1.0), KeepAlive::Forever);
        assert_eq!(KeepAlive::from_seconds(1e300), KeepAlive::Forever);
    }

    #[test]
    fn strings_are_go_durations() {
        for (text, want) in [
            ("0", ms(0)),
            ("10m", ms(600_000)),
            ("1h1m1.5s", ms(3_661_500)),
            (".5s", ms(500)),
            ("1.s", ms(1000)),
            ("250ms", ms(250)),
            ("+3s", ms(3000)),
            ("-1m", KeepAlive::Forever),
            ("-0s", ms(0)),
        ] {
            assert_eq!(KeepAlive::from_go(text), Ok(want), "{text}");
        }
    }

    #[test]
    fn errors_are_gos() {
        for (text, want) in [
            ("300", "time: missing unit in duration \"300\""),
            ("-1", "time: missing unit in duration \"-1\""),
            ("", "time: invalid duration \"\""),
            ("\u{e9}\n", "time: invalid duration \"\\xc3\\xa9\\x0a\""),
            ("abc", "time: invalid duration \"abc\""),
            (".s", "time: invalid duration \".s\""),
            ("1x", "time: unknown unit \"x\" in duration \"1x\""),
            ("1s2", "time: missing unit in duration \"1s2\""),
            ("9999999999h", "time: invalid duration \"9999999999h\""),
        ] {
            assert_eq!(KeepAlive::from_go(text), Err(want.to_owned()), "{text}");
        }
    }

    #[test]
    fn order_and_setting() {
        assert!(ms(5) < ms(6) && ms(6) < KeepAlive::Forever);
        assert_eq!("-1".parse(), Ok(KeepAlive::Forever));
        assert_eq!("90".parse(), Ok(ms(90_000)));
        assert_eq!("5m".parse(), Ok(KeepAlive::DEFAULT));
        assert!("later".parse::<KeepAlive>().is_err());
    }
}
