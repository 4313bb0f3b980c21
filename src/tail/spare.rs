//! Facts that are asked for though a length would be enough to judge a read: they tell other streams
//! with the same ids and lengths, too.

use std::time::Duration;

use tokio::time::Instant;

use super::due::Why;

/// So many are asked for in a second. Facts cost Redis several times what a length does, and so
/// little of it that this makes no difference; whoever has more news than this is asked by turns.
const PER_SECOND: f64 = 100.0;

/// Of one stream, one is asked for in such a time.
const OF_ONE_STREAM: Duration = Duration::from_millis(100);

/// What was not asked for of one stream is kept for so long: one with few news is asked each time.
const KEPT_OF_ONE_STREAM: Duration = Duration::from_secs(1);

/// What was not asked for is kept, up to so many.
const KEPT_MAX: f64 = 1_000.0;

/// What may be asked for now.
#[derive(Default)]
pub(super) struct SpareFacts {
    left: f64,
    at: Option<Instant>,
}

impl SpareFacts {
    /// Whether one more may be asked for now; it is. A sweep leaves half of them to news. `of_stream` is
    /// when those that were asked for of the stream are used up.
    pub(super) fn take(&mut self, why: Why, now: Instant, of_stream: &mut Option<Instant>) -> bool {
        let used_up = of_stream.map_or(now, |at| at.max(now));
        if used_up > now + KEPT_OF_ONE_STREAM {
            return false;
        }
        let any = self.take_one(why, now);
        if any {
            *of_stream = Some(used_up + OF_ONE_STREAM);
        }
        any
    }

    fn take_one(&mut self, why: Why, now: Instant) -> bool {
        let since = self.at.replace(now).map(|at| now.duration_since(at).as_secs_f64());
        let back = since.map_or(KEPT_MAX, |since| since * PER_SECOND);
        self.left = (self.left + back).min(KEPT_MAX);
        let kept_back = if why == Why::Sweep { KEPT_MAX / 2.0 } else { 0.0 };
        let any = self.left >= kept_back + 1.0;
        self.left -= f64::from(u8::from(any));
        any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_as_come_back_with_time_are_asked_for() {
        let (mut spare, mut now) = (SpareFacts::default(), Instant::now());
        let take_all = |spare: &mut SpareFacts, why, now| {
            (0..2_000).filter(|_| spare.take(why, now, &mut None)).count()
        };
        assert_eq!(take_all(&mut spare, Why::Sweep, now), 500);
        assert_eq!(take_all(&mut spare, Why::Hint, now), 500);
        now += Duration::from_millis(100);
        assert_eq!(take_all(&mut spare, Why::Hint, now), 10);
        now += Duration::from_secs(60);
        assert_eq!(take_all(&mut spare, Why::Hint, now), 1_000);
    }

    #[test]
    fn of_a_stream_with_steady_news_ten_a_second_are_asked_for() {
        let (mut spare, mut now) = (SpareFacts::default(), Instant::now());
        let mut of_stream = None;
        let mut asked = [0; 10];
        for asked in &mut asked {
            for _ in 0..50 {
                now += Duration::from_millis(20);
                *asked += u32::from(spare.take(Why::Hint, now, &mut of_stream));
            }
        }
        assert!(asked[0] <= 22 && asked[1..].iter().all(|&asked| asked == 10), "{asked:?}");
        now += Duration::from_secs(60);
        assert_eq!((0..50).filter(|_| spare.take(Why::Hint, now, &mut of_stream)).count(), 11);
    }
}
