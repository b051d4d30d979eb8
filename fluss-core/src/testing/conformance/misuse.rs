//! What callers get wrong: an error that says what, and nothing else happens.

use super::Harness;
use super::stage::{LOG, Stage, TABLE};
use crate::config::Acks;
use crate::error::{Error, WriteError};
use crate::row;
use crate::row::Datum;
use crate::time::Duration;

/// A table that does not exist, and names that are none.
pub fn an_unknown_table_is_named<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let fluss = stage.client();
        let error = fluss.table("fluss.nowhere").await.expect_err("there is none");
        assert_eq!(error.code().map(|code| code.0), Some(7), "{error}");
        assert!(error.to_string().contains("fluss.nowhere"), "{error}");
        for name in ["nowhere", "a.b.c", ".", ""] {
            let error = fluss.table(name).await.expect_err("that is no path");
            assert!(matches!(error, Error::Misuse(_)), "{name}: {error}");
        }
        fluss.table(LOG).await.expect("usable as before");
    });
}

/// Each kind of table has its kind of writer.
pub fn the_wrong_kind_of_writer_says_which_is_right<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let fluss = stage.client();
        let table = fluss.table(TABLE).await.expect("the table exists");
        let error = table.appender().build().expect_err("it has a primary key");
        assert!(matches!(&error, Error::Misuse(text) if text.contains("upserter")), "{error}");
        let log = fluss.table(LOG).await.expect("the table exists");
        let error = log.upserter().build().expect_err("it has no primary key");
        assert!(matches!(&error, Error::Misuse(text) if text.contains(LOG)), "{error}");
        let error = table.upserter().columns(["id", "colour"]).build().expect_err("no such column");
        assert!(matches!(&error, Error::Misuse(text) if text.contains("colour")), "{error}");
        let error = log.appender().acks(Acks::None).build().expect_err("a contradiction");
        assert!(matches!(&error, Error::Config(problems) if problems.len() == 1), "{error}");
    });
}

/// A row that does not fit is refused alone, with its column and value.
pub fn a_row_that_does_not_fit_is_refused_alone<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let writer = stage.writer().await;
        let error = writer.append(&row![0_i64, 7_i64]).await.expect_err("7 is no STRING");
        assert!(matches!(error, Error::Row(_)), "{error:?}");
        assert!(error.to_string().contains("text") && error.to_string().contains('7'), "{error}");
        let error = writer.append(&row![0_i64]).await.expect_err("a column is missing");
        assert!(matches!(error, Error::Row(_)), "{error:?}");
        stage.note_never(0);
        let rows = [Datum::Str("fits"), Datum::Bool(true), Datum::Str("fits, too")];
        let rows = (1_i64..).zip(rows).map(|(id, text)| [Datum::Int64(id), text]);
        let parts = writer.append_all(rows).await.expect("handed in").await;
        stage.note_run(1, &parts);
        let refused: Vec<_> = parts.iter().filter(|part| part.outcome.is_err()).collect();
        let [part] = refused[..] else { panic!("{parts:?}") };
        assert_eq!(part.rows, 1..2);
        let Err(refused @ WriteError::NotWritten(_)) = &part.outcome else { panic!("{part:?}") };
        assert!(matches!(refused.cause(), Error::Row(_)), "{refused:?}");
        assert_eq!(stage.ids(), [1, 3]);
        let ticket = writer.append(&row![4_i64, "goes on"]).await.expect("it fits");
        stage.acked(4, ticket).await;
    });
}

/// An iterator that hands rows in through the handle that reads it is told so; a clone may be used.
pub fn an_iterator_that_uses_its_own_handle_is_told_so<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let writer = stage.writer().await;
        let (clone, mut others) = (writer.clone(), Vec::new());
        stage.note_never(0);
        let rows = [1_i64, 2, 3].into_iter().map(|id| {
            let own = row![0_i64, "own"];
            let told = [writer.try_append(&own).err(), writer.append(&own).wait().err()];
            assert!(told.iter().all(|e| matches!(e, Some(Error::Misuse(_)))), "{told:?}");
            others.push((id + 10, clone.try_append(&row![id + 10, "clone"]).expect("it fits")));
            [Datum::Int64(id), Datum::Str("a")]
        });
        let parts = writer.append_all(rows).await.expect("handed in").await;
        assert!(parts.iter().all(|part| part.outcome.is_ok()), "{parts:?}");
        stage.note_run(1, &parts);
        for (id, ticket) in others {
            stage.acked(id, ticket).await;
        }
    });
}

/// Settings of a client that contradict each other are all named, before anything is sent.
pub fn settings_that_contradict_each_other_are_named<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let config = stage.config().connect_timeout(Duration::ZERO).memory_limit(0);
        let Err(Error::Config(problems)) = stage.harness.start(config) else {
            panic!("contradictions were accepted")
        };
        assert_eq!(problems.len(), 2, "{problems:?}");
    });
}
