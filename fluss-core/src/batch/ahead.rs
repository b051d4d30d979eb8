//! Memory that is asked for before rows are written into it.
//!
//! The buffer of a batch was sent before it is used again, and where a driver runs on another
//! processor, that one has it in its cache. Rows would then fetch it back line by line, and as
//! taking and releasing a lock waits for what was stored, each row would wait for its lines: twice
//! the time of the whole row (measured, upserts of 50 bytes). Asked for together, a few KiB of
//! lines arrive in about the time of one.

/// Bytes asked for at a time: small against the nearest cache, as batches for several buckets are
/// open at once, and large against the wait for one line.
const STEP: usize = 4 << 10;
/// A line of most processors' caches. Where lines are longer, some stores are for nothing.
const LINE: usize = 64;

/// How far the memory of a buffer was asked for.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    asked: usize,
}

impl Ahead {
    /// Asks for more of the buffer's memory, if so many bytes behind its end are not there yet.
    #[inline]
    pub(super) fn reach(&mut self, buffer: &mut Vec<u8>, bytes: usize) {
        if buffer.len() + bytes > self.asked {
            self.ask(buffer);
        }
    }

    /// For a buffer that takes the place of the one before.
    #[inline]
    pub(super) fn restart(&mut self) {
        self.asked = 0;
    }

    #[inline(never)]
    fn ask(&mut self, buffer: &mut Vec<u8>) {
        self.asked = buffer.len() + STEP;
        for line in buffer.spare_capacity_mut().iter_mut().take(STEP).step_by(LINE) {
            // A line has to be written to, as the processor would only share it with a reader.
            line.write(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_never_part_of_the_buffer_and_never_behind_its_memory() {
        let mut ahead = Ahead::default();
        let mut buffer = Vec::with_capacity(3 * STEP + 100);
        let mut expected = Vec::new();
        for round in 0..400_u32 {
            let row = [round as u8; 37];
            ahead.reach(&mut buffer, row.len());
            assert_eq!(buffer, expected);
            buffer.extend_from_slice(&row);
            expected.extend_from_slice(&row);
            assert!(ahead.asked >= buffer.len().min(STEP));
        }
        // Longer than a step, and into a buffer that has no room at all.
        for mut buffer in [Vec::new(), vec![1; 10]] {
            let before = buffer.clone();
            ahead.restart();
            ahead.reach(&mut buffer, 10 * STEP);
            assert_eq!(buffer, before);
        }
    }

    #[test]
    fn memory_is_asked_for_once_in_a_step() {
        let mut ahead = Ahead::default();
        let mut buffer = Vec::with_capacity(2 * STEP);
        ahead.reach(&mut buffer, 1);
        buffer.extend_from_slice(&[1; 100]);
        ahead.reach(&mut buffer, STEP - 100);
        assert_eq!(ahead.asked, STEP);
        ahead.reach(&mut buffer, STEP - 99);
        assert_eq!(ahead.asked, STEP + 100);
        ahead.restart();
        assert_eq!(ahead.asked, 0);
    }
}
