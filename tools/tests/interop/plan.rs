//! Which tables there are, and which values go into them.
//!
//! What the published Java client or server gets wrong is left out by the rules of [`Rules`], and
//! by nothing else:
//!
//! | rule | left out | because |
//! |---|---|---|
//! | kv-indexed-needs-another-log | KV rows INDEXED with a log INDEXED | every write fails there |
//! | kv-compacted-log-indexed | KV rows COMPACTED with a log INDEXED | the server refuses it |
//! | nested-char | CHAR in ARRAY or MAP where Java touches Arrow | it cuts such values |
//! | before-1970 | parts of a millisecond before 1970, likewise | it writes what it cannot read |
//! | full-char | CHAR shorter than its type, KV INDEXED and changelog ARROW | zeros at its end |
//! | map-order | the order of a MAP's entries where Java scans | its scanner loses it |
//! | full-binary | BINARY shorter than its type | its writer of Arrow fails |
//! | last-byte | zero bytes at the end of BINARY, BYTES | its reader of INDEXED cuts them |
//! | float-names | FLOAT and DOUBLE partitions that JDKs before 19 name otherwise | the JDK |
//! | one-nan | NaN of other bits than Java's | its elements of ARRAY and MAP get them |
//!
//! Reading some columns needs no rule of its own: Java chooses columns of every format, from logs
//! and changelogs.
//!
//! full-binary, last-byte and one-nan are rules of `fluss_core::testing::random`.

use fluss_core::rng::Rng;
use fluss_core::row::{
    Column, DataType, Field, OwnedDatum, OwnedRow, Schema, TableDescriptor, Timestamp, TypeKind,
};
use fluss_core::testing::random::{self, Shape};

const COMPRESSION: &str = "table.log.arrow.compression.type";
const LEVEL: &str = "table.log.arrow.compression.zstd.level";

type Properties = &'static [(&'static str, &'static str)];

const LOGS: [Properties; 5] = [
    &[("table.log.format", "ARROW"), (COMPRESSION, "NONE")],
    &[("table.log.format", "ARROW"), (COMPRESSION, "LZ4_FRAME")],
    &[("table.log.format", "ARROW"), (COMPRESSION, "ZSTD"), (LEVEL, "7")],
    &[("table.log.format", "INDEXED")],
    &[("table.log.format", "COMPACTED")],
];
const KEYED: [Properties; 6] = [
    &[(COMPRESSION, "NONE")],
    &[("table.kv.format", "COMPACTED"), (COMPRESSION, "LZ4_FRAME")],
    &[("table.log.format", "ARROW")],
    &[("table.log.format", "COMPACTED")],
    &[("table.kv.format", "INDEXED"), (COMPRESSION, "ZSTD"), (LEVEL, "1")],
    &[("table.kv.format", "INDEXED"), ("table.log.format", "COMPACTED")],
];
/// Kinds of keys and partitions, for log tables and for tables with a primary key.
const LOG_KINDS: u64 = 4;
const KEYED_KINDS: u64 = 5;
/// Tables after which each combination was there once.
pub(crate) const COMBINATIONS: u64 =
    LOGS.len() as u64 * LOG_KINDS + KEYED.len() as u64 * KEYED_KINDS;

/// What values of the table must not be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rules {
    /// Java writes or reads Arrow: nested-char and before-1970 hold.
    pub(crate) arrow: bool,
    /// full-char holds.
    full_char: bool,
}

/// A table to be made.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) name: String,
    pub(crate) descriptor: TableDescriptor,
    pub(crate) rules: Rules,
    /// For each partition its columns with their values.
    pub(crate) partitions: Vec<Vec<Value>>,
    /// The place of the column `id`.
    pub(crate) id: usize,
}

/// A partition column, a value of it, and its text in the partition's name.
pub(crate) type Value = (usize, OwnedDatum, &'static str);

impl Plan {
    /// The table of this number: each combination of formats, keys and partitions in turn, then
    /// any of them.
    pub(crate) fn new(number: u64, rng: &mut Rng) -> Self {
        let at = if number < COMBINATIONS { number } else { rng.below(COMBINATIONS) };
        let logs = LOGS.len() as u64 * LOG_KINDS;
        if at < logs {
            let properties = LOGS[(at % LOGS.len() as u64) as usize];
            let kind = at / LOGS.len() as u64;
            let keys = usize::from(kind % 2 == 1) + usize::from(kind == 3);
            Self::build(number, rng, properties, (keys, kind / 2), None)
        } else {
            let (at, kinds) = (at - logs, KEYED.len() as u64);
            let kind = at / kinds;
            let bucket_key = match kind {
                2 => Some("k0"),
                4 => Some("id"),
                _ => None,
            };
            let keys = [0, 2, 2, 1, 1][kind as usize];
            let partition_columns = kind.saturating_sub(2);
            let properties = KEYED[(at % kinds) as usize];
            Self::build(number, rng, properties, (keys, partition_columns), Some(bucket_key))
        }
    }

    /// `primary` is none for a log table, else the bucket key where that is not the whole key.
    fn build(
        number: u64,
        rng: &mut Rng,
        properties: Properties,
        (keys, partition_columns): (usize, u64),
        primary: Option<Option<&str>>,
    ) -> Self {
        let has = |key: &str, value: &str| properties.contains(&(key, value));
        let arrow = !has("table.log.format", "INDEXED") && !has("table.log.format", "COMPACTED");
        let rules = Rules { arrow, full_char: arrow && has("table.kv.format", "INDEXED") };
        let shape = Shape { nested_char: !arrow, ..Shape::default() };
        let mut columns = match number {
            number if number < COMBINATIONS && keys == 0 && partition_columns == 0 => {
                all_types(rng, shape)
            }
            _ if rng.one_in(8) => columns_of(&Shape { columns: 2, depth: 12, ..shape }, rng),
            _ => columns_of(&Shape { columns: 9, ..shape }, rng),
        };
        columns.push(Column::new("id", DataType::BIGINT.not_null()));
        let scalars = Shape { depth: 0, ..shape };
        let key_names: Vec<String> = (0..keys).map(|at| format!("k{at}")).collect();
        for name in &key_names {
            columns.push(Column::new(name, scalars.data_type(rng).not_null()));
        }
        let domains: Vec<(String, (DataType, Vec<Text>))> =
            (0..partition_columns).map(|at| (format!("p{at}"), domain(rng))).collect();
        for (name, (data_type, _)) in &domains {
            columns.push(Column::new(name, data_type.clone().not_null()));
        }
        shuffle(rng, &mut columns);

        let of = |name: &str| columns.iter().position(|c| c.name == name).expect("just added");
        let mut key: Vec<usize> = key_names.iter().map(|name| of(name)).collect();
        let partition_key: Vec<usize> = domains.iter().map(|(name, _)| of(name)).collect();
        let id = of("id");
        let bucket_key = match primary {
            None => key.clone(),
            Some(name) => name.map(of).into_iter().collect(),
        };
        if primary.is_some() {
            key.push(id);
            key.extend(&partition_key);
            shuffle(rng, &mut key);
        } else {
            key.clear();
        }
        let mut descriptor = TableDescriptor::new(Schema::new(columns, key).with_field_ids());
        descriptor.partition_key = partition_key.clone();
        descriptor.bucket_key = bucket_key;
        descriptor.bucket_count = Some(1 + rng.below(4) as u32);
        for (name, value) in properties {
            descriptor.properties.insert((*name).to_owned(), (*value).to_owned());
        }
        let columns = partition_key.iter().zip(domains);
        let mut partitions: Vec<Vec<Value>> = vec![Vec::new()];
        for (column, (_, (_, texts))) in columns {
            let with = |before: &Vec<Value>| {
                let more = texts.iter().map(|(value, text)| (*column, value.clone(), *text));
                more.map(|one| [&before[..], &[one]].concat()).collect::<Vec<_>>()
            };
            partitions = partitions.iter().flat_map(with).collect();
        }
        if partition_columns == 0 {
            partitions.clear();
        }
        let name = format!("{}_{number}", if primary.is_some() { "pk" } else { "log" });
        Self { name, descriptor, rules, partitions, id }
    }

    /// A row with this number.
    pub(crate) fn row(&self, rng: &mut Rng, id: i64) -> OwnedRow {
        let columns = self.descriptor.schema.columns();
        let value = |column: &Column| self.rules.fit(random::value(rng, &column.data_type), column);
        let mut values: Vec<OwnedDatum> = columns.iter().map(value).collect();
        values[self.id] = OwnedDatum::Int64(id);
        for (column, value, _) in self.partition_of(id) {
            values[*column] = value.clone();
        }
        OwnedRow::new(values)
    }

    /// Another row with the key of this one.
    pub(crate) fn again(&self, rng: &mut Rng, row: &OwnedRow, id: i64) -> OwnedRow {
        let mut values = self.row(rng, id).into_values();
        for column in self.descriptor.schema.primary_key() {
            values[*column] = row.values()[*column].clone();
        }
        OwnedRow::new(values)
    }

    /// The columns of the primary key.
    pub(crate) fn key(&self, row: &OwnedRow) -> OwnedRow {
        let key = self.descriptor.schema.primary_key().iter();
        key.map(|column| row.values()[*column].clone()).collect()
    }

    /// The name of the partition of this row; "-" without partitions.
    pub(crate) fn partition_name(&self, id: i64) -> String {
        match self.partition_of(id) {
            [] => "-".to_owned(),
            values => name_of(values),
        }
    }

    /// Columns to be read: one alone, and some in any order, a nested one among them if there is
    /// one.
    pub(crate) fn projections(&self, rng: &mut Rng) -> [Vec<usize>; 2] {
        let columns = self.descriptor.schema.columns();
        let one = rng.below(columns.len() as u64) as usize;
        let mut some: Vec<usize> = (0..columns.len()).collect();
        shuffle(rng, &mut some);
        let is_nested = |at: &usize| {
            let kind = &columns[*at].data_type.kind;
            matches!(kind, TypeKind::Array(_) | TypeKind::Map(..) | TypeKind::Row(_))
        };
        let nested = some.iter().position(is_nested).unwrap_or_default();
        some.swap(0, nested);
        some.truncate(1 + rng.below(columns.len() as u64) as usize);
        shuffle(rng, &mut some);
        [vec![one], some]
    }

    fn partition_of(&self, id: i64) -> &[Value] {
        match self.partitions.len() {
            0 => &[],
            count => &self.partitions[id as usize % count],
        }
    }
}

/// The name of a partition.
pub(crate) fn name_of(values: &[Value]) -> String {
    let texts: Vec<&str> = values.iter().map(|(_, _, text)| *text).collect();
    texts.join("$")
}

impl Rules {
    /// The value, or one that the rules allow.
    fn fit(self, value: OwnedDatum, column: &Column) -> OwnedDatum {
        self.value(value, &column.data_type)
    }

    fn value(self, value: OwnedDatum, of: &DataType) -> OwnedDatum {
        use OwnedDatum as D;
        match (value, &of.kind) {
            (D::Timestamp(time), _) => D::Timestamp(self.time(time)),
            (D::TimestampLtz(time), _) => D::TimestampLtz(self.time(time)),
            (D::Str(mut text), TypeKind::Char(length)) if self.full_char => {
                while text.len() < *length as usize {
                    text.push('.');
                }
                D::Str(text)
            }
            (D::Array(items), TypeKind::Array(of)) => {
                D::Array(items.into_iter().map(|item| self.value(item, of)).collect())
            }
            (D::Row(values), TypeKind::Row(fields)) => {
                let pairs = values.into_iter().zip(fields);
                D::Row(pairs.map(|(value, f)| self.value(value, &f.data_type)).collect())
            }
            (D::Map(entries), TypeKind::Map(key_of, of)) => {
                let mut fit: Vec<(D, D)> = Vec::new();
                for (key, value) in entries {
                    let key = self.value(key, key_of);
                    // A rule may have made two keys equal, which Java's maps cannot hold.
                    if !fit.iter().any(|(other, _)| random::same(other.as_datum(), key.as_datum()))
                    {
                        fit.push((key, self.value(value, of)));
                    }
                }
                D::Map(fit)
            }
            (value, _) => value,
        }
    }

    fn time(self, time: Timestamp) -> Timestamp {
        if !self.arrow || time.millis >= 0 || time.nanos == 0 {
            return time;
        }
        // The next whole millisecond; the one before may be out of range.
        Timestamp { millis: time.millis + 1, nanos: 0 }
    }
}

fn columns_of(shape: &Shape, rng: &mut Rng) -> Vec<Column> {
    shape.schema(rng).columns().to_vec()
}

/// A column of each type there is, then one of 11 levels.
fn all_types(rng: &mut Rng, shape: Shape) -> Vec<Column> {
    const TYPES: &str = "BOOLEAN;TINYINT;SMALLINT;INT;BIGINT;FLOAT;DOUBLE;DECIMAL(1, 0);\
        DECIMAL(18, 4);DECIMAL(19, 19);DECIMAL(38, 10);CHAR(6);STRING;BINARY(5);BYTES;DATE;TIME(0);\
        TIME(3);TIME(6);TIME(9);TIMESTAMP(0);TIMESTAMP(3);TIMESTAMP(6);TIMESTAMP(9);\
        TIMESTAMP_LTZ(0);TIMESTAMP_LTZ(3);TIMESTAMP_LTZ(6);TIMESTAMP_LTZ(9);ARRAY<INT>;\
        ARRAY<STRING NOT NULL> NOT NULL;ARRAY<DECIMAL(38, 2)>;MAP<STRING, BIGINT>;\
        MAP<INT, ARRAY<DOUBLE>>;ROW<a INT, b ROW<c STRING>>;ARRAY<ROW<a TIMESTAMP(9), b BYTES>>";
    let parse = |text: &str| text.trim().parse::<DataType>().expect("a type");
    let mut types: Vec<DataType> = TYPES.split(';').map(parse).collect();
    types.push((0..11).fold(DataType::INT, |inner, level| match level % 3 {
        0 => DataType::array(inner),
        1 => DataType::map(DataType::STRING, inner),
        _ => {
            let scalar = Shape { depth: 0, ..shape }.data_type(rng);
            DataType::row(vec![Field::new("v", inner), Field::new("n", scalar)])
        }
    }));
    types.into_iter().enumerate().map(|(at, t)| Column::new(format!("c{at}"), t)).collect()
}

type Text = (OwnedDatum, &'static str);

/// A type of partition columns with values and what they are in names: what every JDK writes.
fn domain(rng: &mut Rng) -> (DataType, Vec<Text>) {
    use OwnedDatum as D;
    let time = |millis, nanos| Timestamp { millis, nanos };
    let text = |text: &'static str| (D::Str(text.to_owned()), text);
    let (data_type, texts) = match rng.below(14) {
        0 => ("STRING", vec![text("eu"), text("us-1"), text("_A")]),
        1 => ("CHAR(4)", vec![text("abcd"), text("WXYZ")]),
        2 => ("BOOLEAN", vec![(D::Bool(true), "true"), (D::Bool(false), "false")]),
        3 => ("TINYINT", vec![(D::Int8(-128), "-128"), (D::Int8(7), "7")]),
        4 => ("SMALLINT", vec![(D::Int16(-32760), "-32760"), (D::Int16(300), "300")]),
        5 => ("INT", vec![(D::Int32(-1), "-1"), (D::Int32(i32::MAX), "2147483647")]),
        6 => ("BIGINT", vec![(D::Int64(0), "0"), (D::Int64(i64::MIN), "-9223372036854775808")]),
        7 => ("DATE", vec![(D::Date(20_235), "2025-05-27"), (D::Date(-1), "1969-12-31")]),
        8 => ("TIME(3)", vec![(D::Time(5_402_199), "01-30-02_199"), (D::Time(0), "00-00-00_000")]),
        9 => ("FLOAT", vec![(D::Float32(1.5), "1_5"), (D::Float32(1e7), "1_0E7")]),
        10 => ("DOUBLE", vec![(D::Float64(-0.0), "-0_0"), (D::Float64(1e21), "1_0E21")]),
        11 => ("BINARY(2)", vec![(D::Bytes(vec![0, 255]), "00ff")]),
        12 => {
            let millis = 1_748_662_955_000;
            let at = |more: i64, nanos| D::Timestamp(time(millis + more, nanos));
            let texts = vec![
                (at(0, 0), "2025-05-31-03-42-35_"),
                (at(400, 0), "2025-05-31-03-42-35_4"),
                (at(428, 99_000), "2025-05-31-03-42-35_428099"),
            ];
            ("TIMESTAMP(6)", texts)
        }
        _ => {
            let at = |millis| D::TimestampLtz(time(millis, 0));
            let texts = vec![
                (at(1_748_662_955_420), "2025-05-31-03-42-35_42"),
                (at(-1_748_662_955_428), "1914-08-03-20-17-24_572"),
            ];
            ("TIMESTAMP_LTZ(3)", texts)
        }
    };
    (data_type.parse().expect("a type"), texts)
}

fn shuffle<T>(rng: &mut Rng, items: &mut [T]) {
    for at in (1..items.len()).rev() {
        items.swap(at, rng.below(at as u64 + 1) as usize);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_plans_are_tables_of_every_format_with_every_kind_of_key_and_partition() {
        let mut rng = Rng::new(1);
        let plans: Vec<Plan> = (0..COMBINATIONS).map(|at| Plan::new(at, &mut rng)).collect();
        let count = |test: fn(&Plan) -> bool| plans.iter().filter(|plan| test(plan)).count();
        assert_eq!(plans.len(), 50);
        for plan in &plans {
            plan.descriptor.validate().unwrap_or_else(|error| panic!("{plan:?}: {error}"));
        }
        assert_eq!(count(|plan| plan.descriptor.schema.primary_key().is_empty()), 20);
        assert_eq!(count(|plan| !plan.partitions.is_empty()), 10 + 12);
        assert_eq!(count(|plan| plan.descriptor.partition_key.len() == 2), 6);
        assert_eq!(count(|plan| plan.descriptor.schema.primary_key().len() > 1), 24);
        assert_eq!(count(|plan| plan.rules.arrow), 12 + 20);
        assert_eq!(count(|plan| plan.rules.full_char), 5);
        for plan in &plans {
            let columns = plan.descriptor.schema.columns().len();
            let [one, some] = plan.projections(&mut rng);
            assert_eq!(one.len(), 1);
            assert!(one.iter().chain(&some).all(|at| *at < columns), "{one:?} {some:?}");
            let different: BTreeSet<usize> = some.iter().copied().collect();
            assert!(!some.is_empty() && different.len() == some.len(), "{some:?}");
        }
        let bucket_key = |plan: &Plan| !plan.descriptor.bucket_key.is_empty();
        assert_eq!(plans.iter().filter(|plan| bucket_key(plan)).count(), 10 + 12);
    }

    #[test]
    fn rules_change_only_what_they_are_for() {
        use OwnedDatum as D;
        let early = Timestamp { millis: -1, nanos: 999_000 };
        let column = |text: &str| Column::new("c", text.parse().expect("a type"));
        let fit = |rules: Rules, value: D, of: &str| rules.fit(value, &column(of));
        let free = Rules::default();
        let arrow = Rules { arrow: true, full_char: true };
        for (rules, millis, nanos) in [(free, -1, 999_000), (arrow, 0, 0)] {
            let fitted = fit(rules, D::Array(vec![D::Timestamp(early)]), "ARRAY<TIMESTAMP(6)>");
            assert_eq!(fitted, D::Array(vec![D::Timestamp(Timestamp { millis, nanos })]));
        }
        let whole = D::TimestampLtz(Timestamp { millis: -7, nanos: 0 });
        assert_eq!(fit(arrow, whole.clone(), "TIMESTAMP_LTZ(6)"), whole);
        for (rules, text) in [(free, "a"), (arrow, "a..")] {
            assert_eq!(fit(rules, D::Str("a".into()), "CHAR(3)"), D::Str(text.into()));
            assert_eq!(fit(rules, D::Str("a".into()), "STRING"), D::Str("a".into()));
        }
        let entry = |nanos| (D::Timestamp(Timestamp { millis: -1, nanos }), D::Null);
        let map = D::Map(vec![entry(1), entry(2)]);
        let D::Map(entries) = fit(arrow, map, "MAP<TIMESTAMP(9), INT>") else { panic!("a map") };
        assert_eq!(entries.len(), 1, "equal keys");
    }
}
