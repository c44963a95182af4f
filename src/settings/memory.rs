//! How `worker.memory_limit` is shared out. Pure arithmetic.

const MIB: u64 = 1 << 20;

/// What each lane of the process may hold. The sum over all lanes, with the reserve, is the limit.
///
/// - reserve: an eighth of the limit, at least 32 MiB: the program, connections, statement buffers, what the allocator keeps;
/// - the rest in equal parts per lane, of which
///   - a fifth is for fetched records that wait in librdkafka: two thirds of it the queue itself, the rest for answers of
///     brokers that are under way when the queue is full,
///   - two fifths are the row cache,
///   - two fifths are the batch at work. A record in a batch costs about [`BATCH_COPIES`] times its bytes at the peak: the
///     record itself, the decoded event, the rows it touches and their encoded form. So `batch_bytes_max`, which counts the
///     bytes of records, is a quarter of that share.
///
/// With very many lanes the least amounts below exceed the limit; [`MemoryPlan::bytes_total`] tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryPlan {
    /// Bytes of fetched records that wait in librdkafka before it stops fetching, per lane.
    pub queue_bytes_per_lane: u64,
    /// Bytes of rows kept between batches, per lane.
    pub cache_bytes_per_lane: u64,
    /// Bytes of the records of one batch, per lane.
    pub batch_bytes_max: u64,
    /// Bytes outside the lanes.
    pub reserve_bytes: u64,
    pub lanes_total: u64,
}

/// How much memory a batch takes per byte of its records, at the peak.
pub const BATCH_COPIES: u64 = 4;

const RESERVE_MIN: u64 = 32 * MIB;
const QUEUE_MIN: u64 = MIB;
const CACHE_MIN: u64 = MIB;
const BATCH_MIN: u64 = MIB;

impl MemoryPlan {
    /// `lanes_total`: lanes of all generations of this process; zero counts as one.
    pub fn new(memory_limit: u64, lanes_total: usize) -> MemoryPlan {
        let lanes_total = (lanes_total as u64).max(1);
        let reserve_bytes = (memory_limit / 8).max(RESERVE_MIN);
        let lane = memory_limit.saturating_sub(reserve_bytes) / lanes_total;
        MemoryPlan {
            queue_bytes_per_lane: (lane / 5 / 3 * 2).max(QUEUE_MIN),
            cache_bytes_per_lane: (lane / 5 * 2).max(CACHE_MIN),
            batch_bytes_max: (lane / 5 * 2 / BATCH_COPIES).max(BATCH_MIN),
            reserve_bytes,
            lanes_total,
        }
    }

    /// What the plan adds up to; above the limit only where the least amounts per lane exceed it.
    pub fn bytes_total(&self) -> u64 {
        let lane = self.queue_bytes_per_lane
            + self.cache_bytes_per_lane
            + self.batch_bytes_max * BATCH_COPIES;
        self.reserve_bytes + lane * self.lanes_total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_of_all_lanes_stay_within_the_limit() {
        for limit_mib in [128, 256, 1024, 16 * 1024] {
            for lanes in [0, 1, 2, 3, 4, 6, 8] {
                let plan = MemoryPlan::new(limit_mib * MIB, lanes);
                assert!(
                    plan.bytes_total() <= limit_mib * MIB,
                    "{limit_mib} MiB, {lanes} lanes: {plan:?}"
                );
            }
        }
    }

    #[test]
    fn too_many_lanes_show_in_the_total() {
        assert!(MemoryPlan::new(64 * MIB, 64).bytes_total() > 64 * MIB);
    }
}
