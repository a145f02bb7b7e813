//! How soon an event is applied, and what processors take that have nothing to do.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use annals::{BoxError, SequenceNumber, WriteCondition};
use annals_processing::{Batch, Processor, Services, Sink, SinkError, SystemTimer, async_trait};
use annals_state::{StateStore, Write};
use hdrhistogram::Histogram;

use super::ground::{Counts, STREAMS, Stores, Thorough, counts, line, stream};
use crate::measure::histogram;
use crate::sample;

/// Says when it has taken an event.
struct Heard(tokio::sync::mpsc::UnboundedSender<(SequenceNumber, Instant)>, Arc<dyn StateStore>);

#[async_trait]
impl Sink for Heard {
    async fn take(&mut self, batch: &Batch<'_>) -> Result<(), SinkError> {
        let now = Instant::now();
        for event in batch.events() {
            let _gone = self.0.send((event.sequence_number, now));
        }
        Ok(self.1.commit(batch.commit([])).await?)
    }

    fn forget(&mut self) {}

    async fn clear(&mut self, _: &Write) -> Result<(), SinkError> {
        Ok(())
    }
}

/// How soon an event is with its handler, from before its append and from after it.
pub(super) async fn soon(
    ground: &str,
    stores: Stores,
    thorough: Thorough,
) -> Result<Vec<String>, BoxError> {
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let sink = Heard(sender, Arc::clone(&stores.state));
    let state = Arc::clone(&stores.state);
    let processor = Processor::sink("soon", &stores.log, state, sink, SystemTimer::new())?;
    let handle = processor.handle();
    let running = tokio::spawn(processor.run());
    let (mut whole, mut after) = (histogram(), histogram());
    for nth in 0..thorough.waits + 10 {
        let begun = Instant::now();
        let stream = stores.log.stream(stream(nth % STREAMS)?);
        let appends = stream.append([sample::event()], WriteCondition::Always).await?;
        let appended = Instant::now();
        let wanted = appends.first().ok_or("an event")?.sequence_number;
        loop {
            let next = tokio::time::timeout(Duration::from_secs(60), receiver.recv()).await?;
            let (number, at) = next.ok_or("the processor has ended")?;
            if number == wanted {
                // The first ones warm up.
                if nth >= 10 {
                    note(&mut whole, at.saturating_duration_since(begun));
                    note(&mut after, at.saturating_duration_since(appended));
                }
                break;
            }
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    handle.stop();
    running.await??;
    stores.close().await;
    let of = |calls: &Histogram<u64>, quantile| {
        Duration::from_nanos(calls.value_at_quantile(quantile)).as_secs_f64() * 1_000.0
    };
    let mut lines = Vec::new();
    for (name, quantile) in [("p50", 0.5), ("p99", 0.99)] {
        let what = format!("append to handler, {name}");
        lines.push(line(ground, &what, "ms", vec![of(&whole, quantile)]));
        let what = format!("end of append to handler, {name}");
        lines.push(line(ground, &what, "ms", vec![of(&after, quantile)]));
    }
    Ok(lines)
}

fn note(calls: &mut Histogram<u64>, time: Duration) {
    calls.saturating_record(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
}

/// How much of one core of this process 1,000 processors take that have nothing to do: half of them ask for all, half for
/// a stream of their own.
pub(super) async fn idle(
    ground: &str,
    stores: Stores,
    thorough: Thorough,
) -> Result<Vec<String>, BoxError> {
    const PROCESSORS: usize = 1_000;
    let mut services = Services::new(SystemTimer::new());
    let mut handles = Vec::new();
    for nth in 0..PROCESSORS {
        let documents = counts(&stores.state, &format!("idle-{nth}"))?;
        let name = format!("idle-{nth}");
        let mut processor =
            Processor::view(name, &stores.log, documents, Counts, SystemTimer::new())?;
        if nth % 2 == 0 {
            processor = processor.with_query(stream(nth)?)?;
        }
        handles.push(processor.handle());
        services = services.processor(processor)?;
    }
    let all = services.handle();
    let running = tokio::spawn(services.run());
    let is_live = |handle: &annals_processing::Handle| {
        handle.status().phase == annals_processing::Phase::Live
    };
    while !handles.iter().all(is_live) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut lines = Vec::new();
    // At first each writes what it has done to become idle, and looks at the log more often than later.
    for when in ["at first", "later"] {
        let (begun, before) = (Instant::now(), cpu()?);
        tokio::time::sleep(thorough.idle).await;
        let used = cpu()?.saturating_sub(before).as_secs_f64() / begun.elapsed().as_secs_f64();
        let what = format!("{PROCESSORS} idle processors, {when}");
        lines.push(line(ground, &what, "% of a core", vec![used * 100.0]));
    }
    all.stop();
    running.await??;
    stores.close().await;
    Ok(lines)
}

/// What this process has used of the processors.
fn cpu() -> Result<Duration, BoxError> {
    static SYSTEM: Mutex<Option<sysinfo::System>> = Mutex::new(None);
    let mut system = SYSTEM.lock().unwrap_or_else(PoisonError::into_inner);
    let system = system.get_or_insert_with(sysinfo::System::new);
    let pid = sysinfo::get_current_pid()?;
    system.refresh_processes(sysinfo::ProcessesToUpdate::Some(&[pid]), false);
    let process = system.process(pid).ok_or("this process")?;
    Ok(Duration::from_millis(process.accumulated_cpu_time()))
}
