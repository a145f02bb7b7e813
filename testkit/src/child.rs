//! The test binary as a child process of itself: what several processes do to one store, and `kill -9`.

use std::io::{BufRead, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use annals::{NewEvent, Payload, Position, StreamId, WriteCondition};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::engine::{Failure, Outcome};
use crate::engine::{Flavour, SCRATCH, runtime, scratch_made};
use crate::generate::valid;
use crate::subject::{Context, Subject, event, events, most, within};

/// The variable that makes a child of the test binary; its value is the [`Task`] as JSON.
const VARIABLE: &str = "ANNALS_TESTKIT_CHILD";

/// What a child process does on the store of a namespace. It prints a line for each step.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Task {
    pub(crate) namespace: String,
    pub(crate) work: Work,
}

/// The work of a child process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Work {
    /// `writers` tasks append batches without end, each to its own stream `writer-N`; prints `ack STREAM FIRST
    /// LAST` with the positions of each batch that was acknowledged, after `trying STREAM COUNT`. `large`: each third
    /// batch has [hundreds of events](LARGE).
    Append { writers: u32, from: u32, large: bool },
    /// For each round read from standard input: tries to append to stream `race` at the position given, prints
    /// `won` or `lost`, or `failed` with an error of another kind.
    Race,
}

/// The events of a large batch, of some kilobytes each: more than one page of a file, and one buffer of a server.
pub(crate) const LARGE: usize = 300;
const LARGE_PAYLOAD: usize = 2_000;
/// What an event has beside its payload, at most.
const SMALL_PARTS: usize = 500;

/// When this process was started as a child, does its work and returns its exit code.
pub(crate) fn serve(context: &Context) -> Option<ExitCode> {
    let task = std::env::var(VARIABLE).ok()?;
    let outcome = serde_json::from_str::<Task>(&task)
        .map_err(|error| Failure::new(format!("bad task: {error}")))
        .and_then(|task| {
            let runtime = runtime(Flavour::MultiThread(2))?;
            runtime.block_on(async {
                let subject = context.in_namespace(task.namespace).open().await?;
                match task.work {
                    Work::Append { writers, from, large } => {
                        append(subject, writers, from, large).await
                    }
                    Work::Race => race(&subject).await,
                }
            })
        });
    Some(match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            fail(&failure);
            ExitCode::FAILURE
        }
    })
}

/// A line for the parent; a parent that is gone ends the child.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
        std::process::exit(1);
    }
}

/// Reports to the parent what could not be done.
fn fail(failure: &Failure) {
    let how = if failure.late { "late" } else { "failed" };
    say(&format!("{how}: {}", failure.message.replace('\n', " ")));
}

/// The failure that a line of a child is, if it is one.
pub(crate) fn heard(line: &str) -> Outcome {
    let failure = match line.split_once(": ") {
        Some(("late", _)) => Failure::late,
        Some(("failed", _)) => Failure::new,
        _ => return Ok(()),
    };
    Err(failure(format!("the child process {line}")))
}

async fn append(subject: Subject, writers: u32, from: u32, large: bool) -> Outcome {
    let mut tasks = tokio::task::JoinSet::new();
    for writer in from..from + writers {
        let subject = subject.clone();
        tasks.spawn(async move {
            let name = format!("writer-{writer}");
            let stream = subject.stream("children", &name);
            for round in 0_usize.. {
                let batch = if large && round % 3 == 1 {
                    heavy(&subject)
                } else {
                    events((1 + round % 5).min(most(&subject)))
                };
                say(&format!("trying {name} {}", batch.len()));
                let stored = subject.append(&stream, batch, WriteCondition::Always).await?;
                let ends = stored.first().zip(stored.last());
                let (first, last) = ends.ok_or(Failure::new("an append gave no events"))?;
                say(&format!("ack {name} {} {}", first.position, last.position));
            }
            Ok(())
        });
    }
    tasks.join_next().await.map_or(Ok(()), |ended| {
        ended.unwrap_or_else(|error| Err(Failure::new(format!("a writer ended: {error}"))))
    })
}

/// A large batch, as far as the store takes one.
pub(crate) fn heavy(subject: &Subject) -> Vec<NewEvent> {
    let can = &subject.capabilities;
    let bytes = |limit: Option<std::num::NonZeroU32>| {
        limit.map_or(usize::MAX, |limit| usize::try_from(limit.get()).unwrap_or(usize::MAX))
    };
    // The text has its quotation marks.
    let length = LARGE_PAYLOAD.min(bytes(can.max_payload_bytes).saturating_sub(2));
    let room = bytes(can.max_append_bytes) / (length + SMALL_PARTS);
    let mut batch = events(LARGE.min(most(subject)).min(room).max(1));
    for event in &mut batch {
        event.payload = valid(Payload::json(&"x".repeat(length)));
    }
    batch
}

async fn race(subject: &Subject) -> Outcome {
    let stream: StreamId = subject.stream("children", "race");
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(|error| Failure::new(format!("no more rounds: {error}")))?;
        let condition = match line.trim().parse::<u64>() {
            Ok(position) => WriteCondition::PositionIs(Position::new(position)),
            Err(_) => WriteCondition::StreamIsEmpty,
        };
        match subject.append(&stream, vec![event("raced")], condition).await {
            Ok(_) => say("won"),
            Err(error) if error.is_condition_failed() => say("lost"),
            Err(error) => fail(&error.into()),
        }
    }
    Ok(())
}

/// A child process of this test binary. Dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Child {
    process: std::process::Child,
    lines: mpsc::Receiver<String>,
}

impl Child {
    /// Starts this test binary again, to do `work` on the store of the check.
    pub(crate) fn spawn(cx: &Context, work: Work) -> Outcome<Self> {
        Self::spawn_with(cx, work, Vec::new())
    }

    /// The same with further variables of the environment.
    pub(crate) fn spawn_with(
        cx: &Context,
        work: Work,
        variables: Vec<(&'static str, PathBuf)>,
    ) -> Outcome<Self> {
        let task = Task { namespace: cx.namespace().to_owned(), work };
        let failed = |error: std::io::Error| Failure::not_run(format!("no child process: {error}"));
        let text = serde_json::to_string(&task).unwrap_or_default();
        let mut command = Command::new(std::env::current_exe().map_err(failed)?);
        if let Some(folder) = scratch_made() {
            command.env(SCRATCH, folder);
        }
        let mut process = command
            .env(VARIABLE, text)
            .envs(cx.harness().environment())
            .envs(variables)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        // Bounded: a child that is not listened to waits, as its pipe would make it.
        let (sender, lines) = mpsc::channel(10_000);
        if let Some(out) = process.stdout.take() {
            std::thread::spawn(move || {
                for line in BufReader::new(out).lines().map_while(Result::ok) {
                    if sender.blocking_send(line).is_err() {
                        return;
                    }
                }
            });
        }
        Ok(Self { process, lines })
    }

    /// The next line; `None` when the child has ended and said all.
    pub(crate) async fn line(&mut self, limit: Duration) -> Outcome<Option<String>> {
        within(limit, "waiting for a line of the child process", self.lines.recv()).await
    }

    /// Sends the child a line.
    pub(crate) fn tell(&mut self, line: &str) -> Outcome {
        let mut input = self.process.stdin.as_ref();
        let told = input
            .as_mut()
            .map_or(Ok(()), |input| writeln!(input, "{line}").and_then(|()| input.flush()));
        told.map_err(|error| Failure::new(format!("the child process does not listen: {error}")))
    }

    /// Kills it as `kill -9` does, and returns what it had said until then.
    pub(crate) async fn kill(mut self) -> Vec<String> {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let mut said = Vec::new();
        while let Some(line) = self.lines.recv().await {
            said.push(line);
        }
        said
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[cfg(test)]
mod tests {
    use annals::Error;

    use super::*;

    #[test]
    fn what_was_not_done_in_time_is_late_whether_it_is_an_error_or_a_line_of_a_child() {
        let is_late = |line| heard(line).map_err(|failure| failure.late);
        assert_eq!(is_late("ack writer-0 0 1"), Ok(()));
        assert_eq!(is_late("late: it is busy"), Err(true));
        assert_eq!(is_late("failed: it is wrong"), Err(false));
        let is_late = |error| Failure::from(error).late;
        assert_eq!([Error::unavailable("busy"), Error::closed("a")].map(is_late), [true, false]);
    }
}
