//! The changes, as `cargo mutants --list --json` tells them.

use std::ops::Range;

use serde::Deserialize;

/// One change.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Change {
    /// File, line, column and what is changed.
    pub(crate) name: String,
    /// From the root of the tree.
    pub(crate) file: String,
    /// The package it is in.
    pub(crate) package: String,
    /// The innermost function around it; none for a constant.
    pub(crate) function: Option<Function>,
    /// What is replaced.
    pub(crate) span: Span,
    /// By what.
    pub(crate) replacement: String,
}

/// Where a function is.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Function {
    /// All of it.
    pub(crate) span: Span,
}

/// A part of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Span {
    /// Its first character.
    pub(crate) start: Position,
    /// What follows its last character.
    pub(crate) end: Position,
}

/// Line and column, both from 1; columns are characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Position {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

/// Reads the list.
pub(crate) fn parse(json: &str) -> Result<Vec<Change>, String> {
    serde_json::from_str(json).map_err(|e| format!("the list of changes: {e}"))
}

impl Span {
    /// The bytes of this part.
    pub(crate) fn bytes(self, source: &str) -> Result<Range<usize>, String> {
        let (start, end) = (self.start.byte(source), self.end.byte(source));
        match (start, end) {
            (Some(start), Some(end)) if start <= end => Ok(start..end),
            _ => Err(format!("{self:?} is not in the file: is the list of this tree?")),
        }
    }
}

impl Position {
    fn byte(self, source: &str) -> Option<usize> {
        let line = source.split_inclusive('\n').nth(self.line.checked_sub(1)?)?;
        let start = line.as_ptr() as usize - source.as_ptr() as usize;
        let column = self.column.checked_sub(1)?;
        let ends = line.char_indices().map(|(at, _)| at).chain([line.len()]);
        ends.into_iter().nth(column).map(|at| start + at)
    }
}

impl Change {
    /// A part of the file with this change, which is in it.
    pub(crate) fn apply(&self, source: &str, part: Range<usize>) -> Result<String, String> {
        let changed = self.span.bytes(source)?;
        if changed.start < part.start || part.end < changed.end {
            return Err(format!("{} is not where its function is", self.name));
        }
        let before = &source[part.start..changed.start];
        let after = &source[changed.end..part.end];
        // Spaces, so that it stays apart from what stands beside it.
        Ok(format!("{before} {} {after}", self.replacement))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(from: (usize, usize), to: (usize, usize)) -> Span {
        let position = |(line, column)| Position { line, column };
        Span { start: position(from), end: position(to) }
    }

    #[test]
    fn columns_are_characters_and_a_span_may_end_with_its_line() {
        let source = "let ä = 'ö';\n    a <\n    b\n";
        let text = |from, to| span(from, to).bytes(source).map(|bytes| &source[bytes]);
        assert_eq!(text((1, 5), (1, 6)), Ok("ä"));
        assert_eq!(text((1, 9), (1, 13)), Ok("'ö';"));
        assert_eq!(text((2, 5), (3, 6)), Ok("a <\n    b"));
    }

    #[test]
    fn a_span_of_another_tree_is_an_error() {
        let source = "fn f() {}\n";
        for (from, to) in [((0, 1), (1, 2)), ((1, 1), (3, 1)), ((1, 40), (1, 41)), ((1, 5), (1, 3))]
        {
            assert!(span(from, to).bytes(source).is_err(), "{from:?} {to:?}");
        }
    }

    #[test]
    fn a_list_is_read_and_what_is_not_needed_of_it_is_ignored() {
        let json = r#"[{
            "name": "a.rs:2:7: replace < with == in f", "file": "a.rs", "package": "a",
            "function": {"function_name": "f", "return_type": "-> bool",
                "span": {"start": {"line": 1, "column": 1}, "end": {"line": 3, "column": 2}}},
            "span": {"start": {"line": 2, "column": 7}, "end": {"line": 2, "column": 8}},
            "replacement": "==", "genre": "BinaryOperator", "diff": "…"
        }]"#;
        let changes = parse(json).expect("a list");
        let source = "fn f() -> bool {\n    a < b\n}\n";
        let whole = changes[0].apply(source, 0..source.len());
        assert_eq!(whole.as_deref(), Ok("fn f() -> bool {\n    a  ==  b\n}\n"));
        assert!(changes[0].apply(source, 0..17).is_err(), "it is not in that part");
        assert!(parse("{}").is_err());
    }
}
