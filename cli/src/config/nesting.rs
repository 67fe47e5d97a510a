//! How deep a document is nested, before the parser sees it.
//!
//! The parser looks at every open bracket again for each token, so that a line of brackets takes it time without end. Depth is counted
//! where a bracket opens a list or table in YAML: at the beginning of a line or after a blank, a bracket or a comma, outside quotes and comments.

/// Line and column, from 1, of the first bracket that is deeper than anybody nests.
pub(super) fn too_deep(text: &str) -> Option<(usize, usize)> {
    let mut depth = 0_usize;
    let (mut line, mut column) = (1, 0);
    // What stands before; a line break at the beginning.
    let mut before = '\n';
    let mut quote = None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        column += 1;
        let opens = before.is_whitespace() || matches!(before, '[' | '{' | ',' | ':' | '-' | '?');
        match (quote, c) {
            (Some('"'), '\\') => {
                // Whatever it is, it ends nothing.
                let escaped = chars.next_if(|&next| next != '\n');
                column += usize::from(escaped.is_some());
            }
            // Two of them stand for one.
            (Some('\''), '\'') if chars.next_if_eq(&'\'').is_some() => column += 1,
            (Some(open), c) if open == c => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') if opens => quote = Some(c),
            (None, '#') if before.is_whitespace() => {
                while chars.next_if(|&next| next != '\n').is_some() {}
            }
            (None, '[' | '{') if opens => {
                depth += 1;
                if depth > DEEPEST {
                    return Some((line, column));
                }
            }
            (None, ']' | '}') => depth = depth.saturating_sub(1),
            _ => {}
        }
        before = match c {
            // Within a word it is a letter like others.
            '[' | '{' if !opens => 'x',
            _ => c,
        };
        if c == '\n' {
            (line, column) = (line + 1, 0);
        }
    }
    None
}

/// Nobody nests so deep; a configuration needs six.
const DEEPEST: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_without_end_are_found_where_they_are_too_many() {
        assert_eq!(
            too_deep(&format!("a: {}", "[".repeat(60_000))),
            Some((1, 68))
        );
        assert_eq!(
            too_deep(&format!("a: 1\nb: {}", "{a: ".repeat(500))),
            Some((2, 4 + 4 * 64))
        );
        assert_eq!(too_deep(&format!("-{}", " [".repeat(65))), Some((1, 131)));
        let balanced = format!("a: {}{}", "[".repeat(64), "]".repeat(64));
        assert_eq!(too_deep(&balanced.repeat(3)), None);
    }

    #[test]
    fn brackets_that_nest_nothing_are_not_counted() {
        let many = "[".repeat(100);
        let spaced = "[ ".repeat(100);
        for text in [
            format!("a: \"{many}\""),
            format!("a: \"\\\"{spaced}\""),
            format!("a: '{spaced}'"),
            format!("a: 'it''s {spaced}'"),
            format!("# {spaced}\na: 1"),
            format!("a: 1 # {spaced}\nb: [1]"),
            format!("a: x{many}"),
            "a: [1, 2]\n".repeat(1000),
            "run: [sh, -c, 'if [ -f x ]; then y; fi']\n".repeat(200),
            "run: |\n  if [ -f x ]; then don't; fi\n".repeat(200),
        ] {
            assert_eq!(too_deep(&text), None, "{text}");
        }
    }
}
