//! What a replay shows: a trace for people, and one number for the whole exchange.

use std::fmt::Write as _;

use bytes::Bytes;
use fluss_proto::ApiKey;
use fluss_proto::message::ErrorResponse;
use prost::Message;

use crate::testing::cluster::Appended;
use crate::time::Instant;

use super::Options;
use super::wire::{self, Copy, Sent};

/// Most lines of a trace.
const LINES: usize = 200_000;

/// Records only what was asked for, so that ordinary runs pay nothing.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) trace: Vec<String>,
    pub(super) digest: u64,
    tracing: bool,
    digesting: bool,
}

impl Watch {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            trace: Vec::new(),
            digest: 0xcbf2_9ce4_8422_2325,
            tracing: options.trace,
            digesting: options.digest,
        }
    }

    /// A line of the trace.
    pub(super) fn note(&mut self, now: Instant, text: impl FnOnce() -> String) {
        if self.tracing && self.trace.len() < LINES {
            let micros = now.as_micros();
            self.trace.push(format!(
                "{:>6}.{:06} {}",
                micros / 1_000_000,
                micros % 1_000_000,
                text()
            ));
        }
    }

    /// Bytes that went over the wire.
    pub(super) fn bytes(&mut self, link: usize, bytes: &[u8]) {
        if self.digesting {
            self.digest(&[link as u64, bytes.len() as u64]);
            for byte in bytes {
                self.digest = (self.digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
    }

    pub(super) fn digest(&mut self, numbers: &[u64]) {
        if self.digesting {
            for number in numbers {
                self.digest =
                    (self.digest ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31);
            }
        }
    }
}

pub(super) fn appended(append: &Appended) -> String {
    let what = if append.duplicate { "knows" } else { "appends" };
    format!(
        "{} {what} ({}, {}) at {}..={}",
        append.bucket, append.writer_id, append.sequence, append.base_offset, append.last_offset
    )
}

pub(super) fn sent(sent: &Sent) -> String {
    let api = ApiKey::from_number(sent.api).map_or_else(|| sent.api.to_string(), |a| a.to_string());
    let mut text = format!("{api} #{}", sent.id);
    for copy in &sent.copies {
        let Copy { bucket, payload, writer_id, sequence, .. } = copy;
        let _ = write!(text, ", batch {payload} as ({writer_id}, {sequence}) to {bucket}");
    }
    text
}

pub(super) fn frame(frame: &Bytes) -> String {
    match wire::answers(frame) {
        Some(id) if frame[0] == 0 => format!("answer #{id}, {} bytes", frame.len()),
        Some(id) => {
            let error = ErrorResponse::decode(frame.slice(5..)).unwrap_or_default();
            format!("error #{id}, code {}", error.error_code)
        }
        None => "a frame that answers nothing".to_owned(),
    }
}
