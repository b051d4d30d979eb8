//! Past the merge engine, or not.

/// How a row that is written meets the one that is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum MergeMode {
    /// As the table's merge engine and its delete behaviour say.
    #[default]
    Default,
    /// The row, or the columns written of it, takes the place of what is there, and a delete
    /// deletes, whatever the table says; to put a state back as it was. Servers before 0.9 do not
    /// know this mode and write as by default.
    Overwrite,
}
