//! The rows of both sides: BIGINT, STRING of 16 bytes, INT, DOUBLE.

/// How many different names there are.
const NAMES: usize = 1024;

/// Makes rows. Names are made beforehand; all other values cost nothing.
pub struct Rows {
    names: Vec<String>,
}

/// The values of one row.
#[derive(Clone, Copy)]
pub struct Values<'a> {
    pub id: i64,
    pub name: &'a str,
    pub a: i32,
    pub b: f64,
}

impl Rows {
    pub fn new() -> Self {
        Self { names: (0..NAMES).map(|i| format!("name-{:011}", i * 7919)).collect() }
    }

    #[inline]
    pub fn row(&self, index: u64) -> Values<'_> {
        let name = &self.names[index as usize % NAMES];
        Values { id: index as i64, name, a: index as i32, b: index as f64 * 0.5 }
    }
}
