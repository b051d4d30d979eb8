//! The SQL text of a type: `DECIMAL(10, 2) NOT NULL`.

use std::fmt::{self, Display, Formatter, Write as _};
use std::str::FromStr;

use super::types::{DataType, Field, TypeError, TypeKind, check_decimal, check_length, check_time};

/// Types nested deeper than this are refused, so that a hostile text cannot exhaust the stack.
const MAX_DEPTH: u32 = 64;

/// A type's text cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseTypeError {
    /// The text differs from the grammar.
    #[error("the type is malformed at character {at}: expected {expected}, found {found}")]
    Syntax {
        /// Position in characters from 0.
        at: usize,
        /// What could stand there.
        expected: &'static str,
        /// What stands there.
        found: String,
    },
    /// A type that Fluss does not have.
    #[error("`{name}` is no Fluss type: {advice}")]
    Unknown {
        /// The word found.
        name: String,
        /// What to use in its place.
        advice: &'static str,
    },
    /// A parameter is out of range.
    #[error(transparent)]
    Invalid(#[from] TypeError),
    /// Nested too deep.
    #[error("the type is nested more than 64 levels deep: flatten it")]
    TooDeep,
}

impl Display for DataType {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.kind {
            TypeKind::Boolean => f.write_str("BOOLEAN"),
            TypeKind::TinyInt => f.write_str("TINYINT"),
            TypeKind::SmallInt => f.write_str("SMALLINT"),
            TypeKind::Int => f.write_str("INT"),
            TypeKind::BigInt => f.write_str("BIGINT"),
            TypeKind::Float => f.write_str("FLOAT"),
            TypeKind::Double => f.write_str("DOUBLE"),
            TypeKind::Decimal { precision, scale } => write!(f, "DECIMAL({precision}, {scale})"),
            TypeKind::Char(n) => write!(f, "CHAR({n})"),
            TypeKind::String => f.write_str("STRING"),
            TypeKind::Binary(n) => write!(f, "BINARY({n})"),
            TypeKind::Bytes => f.write_str("BYTES"),
            TypeKind::Date => f.write_str("DATE"),
            TypeKind::Time(p) => write!(f, "TIME({p})"),
            TypeKind::Timestamp(p) => write!(f, "TIMESTAMP({p})"),
            TypeKind::TimestampLtz(p) => write!(f, "TIMESTAMP({p}) WITH LOCAL TIME ZONE"),
            TypeKind::Array(element) => write!(f, "ARRAY<{element}>"),
            TypeKind::Map(key, value) => write!(f, "MAP<{key}, {value}>"),
            TypeKind::Row(fields) => write_fields(f, fields),
        }?;
        if self.nullable { Ok(()) } else { f.write_str(" NOT NULL") }
    }
}

fn write_fields(f: &mut Formatter<'_>, fields: &[Field]) -> fmt::Result {
    f.write_str("ROW<")?;
    for (index, field) in fields.iter().enumerate() {
        if index > 0 {
            f.write_str(", ")?;
        }
        write_quoted(f, '`', &field.name)?;
        write!(f, " {}", field.data_type)?;
        if let Some(comment) = &field.comment {
            f.write_char(' ')?;
            write_quoted(f, '\'', comment)?;
        }
    }
    f.write_char('>')
}

fn write_quoted(f: &mut Formatter<'_>, quote: char, text: &str) -> fmt::Result {
    f.write_char(quote)?;
    for c in text.chars() {
        if c == quote {
            f.write_char(quote)?;
        }
        f.write_char(c)?;
    }
    f.write_char(quote)
}

impl FromStr for DataType {
    type Err = ParseTypeError;

    fn from_str(text: &str) -> Result<Self, ParseTypeError> {
        let chars: Vec<char> = text.chars().collect();
        let mut parser = Parser { chars: &chars, at: 0, depth: 0 };
        let parsed = parser.data_type()?;
        if parser.next_token().is_some() {
            return Err(parser.syntax("the end of the type"));
        }
        Ok(parsed)
    }
}

struct Parser<'a> {
    chars: &'a [char],
    at: usize,
    depth: u32,
}

impl Parser<'_> {
    /// Skips blanks and looks at the next character.
    fn next_token(&mut self) -> Option<char> {
        while self.chars.get(self.at).is_some_and(|c| c.is_whitespace()) {
            self.at += 1;
        }
        self.chars.get(self.at).copied()
    }

    fn syntax(&mut self, expected: &'static str) -> ParseTypeError {
        let found = match self.next_token() {
            None => "the end".to_owned(),
            Some(c) => format!("`{c}`"),
        };
        ParseTypeError::Syntax { at: self.at, expected, found }
    }

    fn take(&mut self, wanted: char) -> bool {
        let found = self.next_token() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, wanted: char, expected: &'static str) -> Result<(), ParseTypeError> {
        if self.take(wanted) { Ok(()) } else { Err(self.syntax(expected)) }
    }

    fn word(&mut self) -> Option<String> {
        self.next_token()?;
        let rest = &self.chars[self.at..];
        let length = rest.iter().take_while(|c| c.is_alphanumeric() || **c == '_').count();
        self.at += length;
        (length > 0).then(|| rest[..length].iter().collect())
    }

    /// Takes this word, in any case, or leaves the position alone.
    fn keyword(&mut self, wanted: &str) -> bool {
        let start = self.at;
        let found = self.word().is_some_and(|word| word.eq_ignore_ascii_case(wanted));
        if !found {
            self.at = start;
        }
        found
    }

    fn keywords(&mut self, wanted: &[&'static str]) -> Result<(), ParseTypeError> {
        for word in wanted {
            if !self.keyword(word) {
                return Err(self.syntax(word));
            }
        }
        Ok(())
    }

    fn number(&mut self) -> Result<i64, ParseTypeError> {
        let start = self.at;
        let digits = self.word().unwrap_or_default();
        // A number with more digits than any limit is beyond all of them.
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse().or(if is_number { Ok(i64::MAX) } else { Err(()) }).map_err(|()| {
            self.at = start;
            self.syntax("a number")
        })
    }

    /// Reads `(n)` if it is there.
    fn parameter(&mut self) -> Result<Option<i64>, ParseTypeError> {
        if !self.take('(') {
            return Ok(None);
        }
        let number = self.number()?;
        self.expect(')', "`)`")?;
        Ok(Some(number))
    }

    fn data_type(&mut self) -> Result<DataType, ParseTypeError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(ParseTypeError::TooDeep);
        }
        let kind = self.kind()?;
        let nullable = self.nullability()?;
        let mut data_type = DataType { kind, nullable };
        if self.keyword("ARRAY") {
            let nullable = self.nullability()?;
            data_type = DataType { kind: TypeKind::Array(Box::new(data_type)), nullable };
        }
        self.depth -= 1;
        Ok(data_type)
    }

    fn nullability(&mut self) -> Result<bool, ParseTypeError> {
        if self.keyword("NOT") {
            self.keywords(&["NULL"])?;
            return Ok(false);
        }
        self.keyword("NULL");
        Ok(true)
    }

    fn kind(&mut self) -> Result<TypeKind, ParseTypeError> {
        let Some(word) = self.word() else {
            return Err(self.syntax("a type"));
        };
        Ok(match word.to_ascii_uppercase().as_str() {
            "BOOLEAN" => TypeKind::Boolean,
            "TINYINT" => TypeKind::TinyInt,
            "SMALLINT" => TypeKind::SmallInt,
            "INT" | "INTEGER" => TypeKind::Int,
            "BIGINT" => TypeKind::BigInt,
            "FLOAT" => TypeKind::Float,
            "DOUBLE" => {
                self.keyword("PRECISION");
                TypeKind::Double
            }
            "STRING" => TypeKind::String,
            "BYTES" => TypeKind::Bytes,
            "DATE" => TypeKind::Date,
            "CHAR" => TypeKind::Char(check_length("CHAR", self.parameter()?.unwrap_or(1))?),
            "BINARY" => TypeKind::Binary(check_length("BINARY", self.parameter()?.unwrap_or(1))?),
            "DECIMAL" | "NUMERIC" | "DEC" => self.decimal()?,
            "TIME" => {
                let precision = check_time("TIME", self.parameter()?.unwrap_or(0))?;
                if self.keyword("WITHOUT") {
                    self.keywords(&["TIME", "ZONE"])?;
                }
                TypeKind::Time(precision)
            }
            "TIMESTAMP" => self.timestamp()?,
            "TIMESTAMP_LTZ" => {
                TypeKind::TimestampLtz(check_time("TIMESTAMP_LTZ", self.parameter()?.unwrap_or(6))?)
            }
            "ARRAY" => {
                self.expect('<', "`<` and the element's type")?;
                let element = self.data_type()?;
                self.expect('>', "`>`")?;
                TypeKind::Array(Box::new(element))
            }
            "MAP" => {
                self.expect('<', "`<` and the key's type")?;
                let key = self.data_type()?.not_null();
                self.expect(',', "`,` and the value's type")?;
                let value = self.data_type()?;
                self.expect('>', "`>`")?;
                TypeKind::Map(Box::new(key), Box::new(value))
            }
            "ROW" => self.row()?,
            name => return Err(unknown(&word, name)),
        })
    }

    fn decimal(&mut self) -> Result<TypeKind, ParseTypeError> {
        let (mut precision, mut scale) = (10, 0);
        if self.take('(') {
            precision = self.number()?;
            if self.take(',') {
                scale = self.number()?;
            }
            self.expect(')', "`)`")?;
        }
        Ok(check_decimal(precision, scale)?)
    }

    fn timestamp(&mut self) -> Result<TypeKind, ParseTypeError> {
        let precision = check_time("TIMESTAMP", self.parameter()?.unwrap_or(6))?;
        if self.keyword("WITH") {
            self.keywords(&["LOCAL", "TIME", "ZONE"])?;
            return Ok(TypeKind::TimestampLtz(precision));
        }
        if self.keyword("WITHOUT") {
            self.keywords(&["TIME", "ZONE"])?;
        }
        Ok(TypeKind::Timestamp(precision))
    }

    fn row(&mut self) -> Result<TypeKind, ParseTypeError> {
        let close = if self.take('(') {
            ')'
        } else {
            self.expect('<', "`<` and the fields")?;
            '>'
        };
        let mut fields = Vec::new();
        if !self.take(close) {
            loop {
                fields.push(self.field()?);
                if self.take(close) {
                    break;
                }
                self.expect(',', "`,` or the end of the fields")?;
            }
        }
        let row = TypeKind::Row(fields).nullable();
        row.validate()?;
        Ok(row.kind)
    }

    fn field(&mut self) -> Result<Field, ParseTypeError> {
        let name = match self.next_token() {
            Some('`') => Some(self.quoted('`')?),
            _ => self.word(),
        };
        let Some(name) = name else {
            return Err(self.syntax("a field name"));
        };
        let data_type = self.data_type()?;
        let comment = match self.next_token() {
            Some('\'') => Some(self.quoted('\'')?),
            _ => None,
        };
        Ok(Field { name, data_type, comment, id: None })
    }

    /// Reads a quoted text in which a doubled quote stands for itself.
    fn quoted(&mut self, quote: char) -> Result<String, ParseTypeError> {
        self.at += 1;
        let mut text = String::new();
        while let Some(&c) = self.chars.get(self.at) {
            self.at += 1;
            if c == quote {
                if self.chars.get(self.at) != Some(&quote) {
                    return Ok(text);
                }
                self.at += 1;
            }
            text.push(c);
        }
        Err(self.syntax("the closing quote"))
    }
}

fn unknown(word: &str, upper: &str) -> ParseTypeError {
    let advice = match upper {
        "VARCHAR" | "TEXT" => "use STRING",
        "VARBINARY" | "BLOB" => "use BYTES",
        "LONG" => "use BIGINT",
        "SHORT" => "use SMALLINT",
        "BYTE" => "use TINYINT",
        "BOOL" => "use BOOLEAN",
        "DATETIME" => "use TIMESTAMP",
        "MULTISET" => "use ARRAY",
        _ => {
            "use BOOLEAN, TINYINT, SMALLINT, INT, BIGINT, FLOAT, DOUBLE, DECIMAL, CHAR, STRING, \
             BINARY, BYTES, DATE, TIME, TIMESTAMP, TIMESTAMP_LTZ, ARRAY, MAP or ROW"
        }
    };
    ParseTypeError::Unknown { name: word.to_owned(), advice }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        text.parse::<DataType>().map_or_else(|e| e.to_string(), |t| t.to_string())
    }

    #[test]
    fn types_parse_to_their_canonical_text() {
        for (text, canonical) in [
            ("dec(12)", "DECIMAL(12, 0)"),
            ("NUMERIC", "DECIMAL(10, 0)"),
            ("TIMESTAMP_LTZ", "TIMESTAMP(6) WITH LOCAL TIME ZONE"),
            ("timestamp ( 3 ) with local time zone not null", {
                "TIMESTAMP(3) WITH LOCAL TIME ZONE NOT NULL"
            }),
            ("TIMESTAMP WITHOUT TIME ZONE", "TIMESTAMP(6)"),
            ("TIME(9) WITHOUT TIME ZONE NULL", "TIME(9)"),
            ("INT NOT NULL ARRAY NOT NULL", "ARRAY<INT NOT NULL> NOT NULL"),
            ("MAP<STRING,INT>", "MAP<STRING NOT NULL, INT>"),
            ("double precision", "DOUBLE"),
            ("ROW(a INT 'it''s', `b``c` ARRAY<STRING>)", {
                "ROW<`a` INT 'it''s', `b``c` ARRAY<STRING>>"
            }),
            ("ROW<>", "ROW<>"),
            ("CHAR", "CHAR(1)"),
            ("BINARY(20) NOT NULL", "BINARY(20) NOT NULL"),
        ] {
            assert_eq!(shown(text), canonical, "{text}");
            assert_eq!(shown(canonical), canonical, "the canonical text reads back");
        }
    }

    #[test]
    fn a_wrong_type_says_what_to_do() {
        for (text, part) in [
            ("VARCHAR(10)", "use STRING"),
            ("DECIMAL(39)", "use 1 to 38"),
            ("DECIMAL(5, 6)", "use 0 to the precision, 5"),
            ("TIME(10)", "use 0 to 9 digits"),
            ("CHAR(0)", "use 1 to 2147483647"),
            ("CHAR(99999999999999999999)", "use 1 to 2147483647"),
            ("TIMESTAMP WITH TIME ZONE", "expected LOCAL"),
            ("INT INT", "expected the end of the type"),
            ("ARRAY<INT", "expected `>`"),
            ("ROW<a INT, a INT>", "given twice"),
            ("ROW<`a INT>", "expected the closing quote"),
            ("", "expected a type, found the end"),
        ] {
            assert!(shown(text).contains(part), "{text}: {}", shown(text));
        }
    }

    #[test]
    fn a_type_nested_without_end_is_refused() {
        let text = "ARRAY<".repeat(100_000);
        assert_eq!(text.parse::<DataType>(), Err(ParseTypeError::TooDeep));
    }
}
