//! What a client costs that has nothing to do.

use super::Harness;
use super::stage::Stage;
use crate::row;

/// How often an idle client's loop may be entered in five seconds.
const TURNS: u64 = 25;

/// Counts the driver's turns while `five_seconds` passes on a thread of its own. For a test in a
/// process of its own, and the one case that takes time to pass.
///
/// # Panics
/// If the loop is entered more than 25 times.
pub fn an_idle_client_hardly_turns<H: Harness>(five_seconds: impl FnOnce() + Send + 'static) {
    Stage::<H>::run(async move |stage| {
        let writer = stage.writer().await;
        let ticket = writer.append(&row![0_i64, "busy once"]).await.expect("it fits");
        stage.acked(0, ticket).await;
        let fluss = writer.table().fluss();
        let before = fluss.turns();
        stage.aside(five_seconds).await;
        let turns = fluss.turns() - before;
        assert!(turns <= TURNS, "{turns} turns in 5 s of nothing to do");
    });
}
