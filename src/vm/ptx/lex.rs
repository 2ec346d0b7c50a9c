//! Text → tokens. PTX ISA 9.0, section 4 (Syntax).

use super::{Syntax, syntax};

/// One token and the line it stands on.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    pub kind: Kind,
    pub line: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// A directive, opcode with its modifiers, register or name: `.reg`, `ld.global.v4.f32`, `%r1`, `$L__BB0_2`.
    Word(String),
    /// An integer literal, as its 64 bits.
    Integer(u64),
    /// The bits of `0f3F800000`.
    Single(u32),
    /// The bits of `0d3FF0000000000000` or of a decimal fraction.
    Double(u64),
    Text(String),
    Mark(char),
}

/// All tokens of `source`, comments and white space dropped.
pub fn tokens(source: &str) -> Result<Vec<Token>, Syntax> {
    let bytes = source.as_bytes();
    let (mut at, mut line, mut found) = (0, 1, Vec::new());
    while let Some(&byte) = bytes.get(at) {
        let rest = &bytes[at..];
        match byte {
            b'\n' => (line, at) = (line + 1, at + 1),
            b if b.is_ascii_whitespace() || b == 0 => at += 1,
            b'/' if rest.starts_with(b"//") => {
                at += rest.iter().position(|&b| b == b'\n').unwrap_or(rest.len())
            }
            b'/' if rest.starts_with(b"/*") => {
                let end = rest.windows(2).skip(2).position(|pair| pair == b"*/");
                let len =
                    end.map_or_else(|| syntax(line, "a comment `/*` has no `*/`"), |end| Ok(end + 4))?;
                line += rest[..len].iter().filter(|&&b| b == b'\n').count() as u32;
                at += len;
            }
            b'"' => {
                let Some(len) =
                    rest[1..].iter().position(|&b| b == b'"' || b == b'\n').filter(|&n| rest[n + 1] == b'"')
                else {
                    return syntax(line, "a string has no closing quote on its line");
                };
                found.push(Token {
                    kind: Kind::Text(String::from_utf8_lossy(&rest[1..=len]).into_owned()),
                    line,
                });
                at += len + 2;
            }
            b if b.is_ascii_digit() => {
                let len = rest
                    .iter()
                    .position(|b| !(b.is_ascii_alphanumeric() || *b == b'.'))
                    .unwrap_or(rest.len());
                found.push(Token { kind: number(&rest[..len], line)?, line });
                at += len;
            }
            b if starts_word(b) => {
                let len = word_len(rest);
                found.push(Token {
                    kind: Kind::Word(String::from_utf8_lossy(&rest[..len]).into_owned()),
                    line,
                });
                at += len;
            }
            b if b.is_ascii_punctuation() => {
                found.push(Token { kind: Kind::Mark(char::from(b)), line });
                at += 1;
            }
            b => return syntax(line, format!("byte {b:#04x} does not belong in PTX")),
        }
    }
    Ok(found)
}

fn starts_word(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || matches!(byte, b'_' | b'$' | b'%' | b'.')
}

/// Dots belong to a word, and so does `::` before a letter (`.L2::128B`, `shared::cta`): a label's colon does not.
fn word_len(bytes: &[u8]) -> usize {
    let mut len = 1;
    loop {
        match bytes.get(len) {
            Some(b) if b.is_ascii_alphanumeric() || matches!(b, b'_' | b'$' | b'.') => len += 1,
            Some(b':') if bytes.get(len + 1) == Some(&b':') => len += 2,
            _ => return len,
        }
    }
}

fn number(text: &[u8], line: u32) -> Result<Kind, Syntax> {
    let text = String::from_utf8_lossy(text);
    let bad = || Syntax { line, what: format!("`{text}` is no number") };
    let lower = text.to_ascii_lowercase();
    let radix = |digits: &str, radix| u64::from_str_radix(digits, radix).map_err(|_| bad());
    if let Some(hex) = lower.strip_prefix("0f").filter(|hex| hex.len() == 8) {
        return Ok(Kind::Single(radix(hex, 16)? as u32));
    }
    if let Some(hex) = lower.strip_prefix("0d").filter(|hex| hex.len() == 16) {
        return Ok(Kind::Double(radix(hex, 16)?));
    }
    if lower.contains('.') {
        return lower.parse::<f64>().map(|value| Kind::Double(value.to_bits())).map_err(|_| bad());
    }
    let digits = lower.strip_suffix('u').unwrap_or(&lower);
    let value = if let Some(hex) = digits.strip_prefix("0x") {
        radix(hex, 16)
    } else if let Some(binary) = digits.strip_prefix("0b") {
        radix(binary, 2)
    } else if digits.len() > 1 && digits.starts_with('0') {
        radix(&digits[1..], 8)
    } else {
        radix(digits, 10)
    };
    value.map(Kind::Integer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(source: &str) -> Vec<Kind> {
        tokens(source).unwrap().into_iter().map(|token| token.kind).collect()
    }

    #[test]
    fn words_numbers_and_marks() {
        let word = |w: &str| Kind::Word(w.into());
        assert_eq!(
            kinds("$L1: ld.global.L2::128B.f32 %f1, [%rd1+-4]; // end"),
            [
                word("$L1"),
                Kind::Mark(':'),
                word("ld.global.L2::128B.f32"),
                word("%f1"),
                Kind::Mark(','),
                Kind::Mark('['),
                word("%rd1"),
                Kind::Mark('+'),
                Kind::Mark('-'),
                Kind::Integer(4),
                Kind::Mark(']'),
                Kind::Mark(';')
            ]
        );
        assert_eq!(
            kinds("0f3F800000 0d3FF0000000000000 0x1F 17U 010 1.5"),
            [
                Kind::Single(0x3f80_0000),
                Kind::Double(0x3ff0_0000_0000_0000),
                Kind::Integer(31),
                Kind::Integer(17),
                Kind::Integer(8),
                Kind::Double(1.5f64.to_bits())
            ]
        );
    }

    #[test]
    fn lines_are_counted_through_comments() {
        assert_eq!(tokens("/* a\n b */ x\ny").unwrap().iter().map(|t| t.line).collect::<Vec<_>>(), [2, 3]);
    }

    #[test]
    fn bad_text_is_an_error_with_its_line() {
        for bad in ["\n\"open", "\n/* open", "\n0xZZ", "\né"] {
            assert_eq!(tokens(bad).unwrap_err().line, 2, "{bad}");
        }
    }
}
