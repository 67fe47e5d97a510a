//! Base64 as people paste it: either alphabet, with or without padding, broken over lines.

use base64::Engine;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::GeneralPurpose;
use base64::engine::GeneralPurposeConfig;

/// Decodes either alphabet (RFC 4648 sections 4 and 5), ignoring white space and padding.
///
/// The error never quotes the text, because it is a secret.
pub(super) fn decode_either(text: &str) -> Result<Vec<u8>, NotBase64> {
    let mut unified = String::with_capacity(text.len());
    for (index, c) in text.chars().enumerate() {
        match c {
            '+' => unified.push('-'),
            '/' => unified.push('_'),
            '-' | '_' => unified.push(c),
            c if c.is_ascii_alphanumeric() => unified.push(c),
            c if c.is_whitespace() || c == '=' => {}
            _ => return Err(NotBase64::Character(index + 1)),
        }
    }
    LENIENT.decode(unified).map_err(|_| NotBase64::Length)
}

/// Why a text is no base64.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum NotBase64 {
    #[error("its character {0} is of neither base64 alphabet")]
    Character(usize),
    #[error("its length is none that base64 can have, so that a part of it may be missing")]
    Length,
}

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true),
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_alphabet_padding_and_white_space() {
        for text in ["-_-_AA", "+/+/AA==", " -_-_\n AA", "-_+/AA="] {
            assert_eq!(
                decode_either(text).unwrap(),
                [0xfb, 0xff, 0xbf, 0],
                "{text}"
            );
        }
        assert_eq!(decode_either("").unwrap(), b"");
        assert_eq!(decode_either("AAAAA"), Err(NotBase64::Length));
        assert_eq!(decode_either("AA!A"), Err(NotBase64::Character(3)));
    }
}
