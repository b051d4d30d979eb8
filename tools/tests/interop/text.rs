//! Values as texts, as `TableInterop.java` writes them. Written by itself, not by the codecs that
//! are under test: a mistake that both directions of a codec share shows too.

use fluss_core::row::{OwnedDatum, OwnedRow};

/// A column of a row. `sorted` puts the entries of maps in the order of their texts.
pub(crate) fn cell(value: &OwnedDatum, sorted: bool) -> String {
    use OwnedDatum as D;
    let list = |values: &[D]| {
        let cells: Vec<String> = values.iter().map(|value| cell(value, sorted)).collect();
        cells.join(",")
    };
    match value {
        D::Null => "~".to_owned(),
        D::Bool(value) => if *value { "t" } else { "f" }.to_owned(),
        D::Int8(value) => value.to_string(),
        D::Int16(value) => value.to_string(),
        D::Int32(value) | D::Date(value) | D::Time(value) => value.to_string(),
        D::Int64(value) => value.to_string(),
        D::Float32(value) => format!("{:08x}", value.to_bits()),
        D::Float64(value) => format!("{:016x}", value.to_bits()),
        D::Decimal(value) => format!("{}/{}", value.unscaled, value.scale),
        D::Str(value) => format!("s{}", hex(value.as_bytes())),
        D::Bytes(value) => format!("x{}", hex(value)),
        D::Timestamp(time) | D::TimestampLtz(time) => format!("{}.{}", time.millis, time.nanos),
        D::Array(items) => format!("[{}]", list(items)),
        D::Row(fields) => format!("({})", list(fields)),
        D::Map(entries) => {
            let entry = |(key, value): &(D, D)| cell(key, sorted) + ":" + &cell(value, sorted);
            let mut entries: Vec<String> = entries.iter().map(entry).collect();
            if sorted {
                entries.sort_unstable();
            }
            format!("{{{}}}", entries.join(","))
        }
        other => panic!("a value without a text: {other:?}"),
    }
}

/// The columns of a row, with blanks between them.
pub(crate) fn row(row: &OwnedRow, sorted: bool) -> String {
    let cells: Vec<String> = row.values().iter().map(|value| cell(value, sorted)).collect();
    cells.join(" ")
}

/// The bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use fluss_core::row::{Decimal, Timestamp};

    use super::*;

    #[test]
    fn each_kind_of_value_has_a_text_of_its_own() {
        use OwnedDatum as D;
        let time = Timestamp { millis: -5, nanos: 42 };
        let nested = D::Row(vec![
            D::Array(vec![D::Int8(-1), D::Null]),
            D::Map(vec![(D::Str("z".into()), D::Bool(true)), (D::Str("a".into()), D::Bool(false))]),
        ]);
        let cases = [
            (D::Null, "~"),
            (D::Int64(i64::MIN), "-9223372036854775808"),
            (D::Float32(-0.0), "80000000"),
            (D::Float64(1.5), "3ff8000000000000"),
            (D::Decimal(Decimal::new(-123, 2)), "-123/2"),
            (D::Str("é".into()), "sc3a9"),
            (D::Str(String::new()), "s"),
            (D::Bytes(vec![0, 255]), "x00ff"),
            (D::Timestamp(time), "-5.42"),
            (D::Array(vec![]), "[]"),
            (nested.clone(), "([-1,~],{s7a:t,s61:f})"),
        ];
        for (value, text) in cases {
            assert_eq!(cell(&value, false), text);
        }
        assert_eq!(cell(&nested, true), "([-1,~],{s61:f,s7a:t})");
    }
}
