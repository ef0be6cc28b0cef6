//! What jobs do: each a request to the engine made from the configuration, and what came of it. All of it blocks.

pub mod backup;
pub mod restore;
pub mod upkeep;

use engine::{EngineError, ErrorKind};
use serde::Serialize;
use serde_json::Value;

use crate::jobs::{JobError, JobState, job_error};
use crate::planner::Ended;

/// How a job ended.
#[derive(Debug)]
pub struct Outcome {
    /// Its last state.
    pub state: JobState,
    /// What it did.
    pub result: Option<Value>,
    /// Why it did not.
    pub error: Option<JobError>,
    /// Whether it was the source, the store or something else that failed.
    pub side: Option<Side>,
}

/// Who is to blame for a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// What is read from or restored into.
    Source,
    /// The repository.
    Store,
    /// Neither.
    Other,
}

impl Side {
    /// As metrics say it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Store => "store",
            Self::Other => "other",
        }
    }

    /// Of an error, by what it was caused by.
    pub fn of(error: &EngineError) -> Self {
        if error.downcast_ref::<engine::repository::RepositoryError>().is_some() {
            return Self::Store;
        }
        let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
        while let Some(cause) = next {
            if cause.is::<engine::repository::backend::StoreError>()
                || cause.is::<engine::repository::RepositoryError>()
                || cause.is::<engine::repository::BlobError>()
            {
                return Self::Store;
            }
            next = cause.source();
        }
        match error.kind {
            ErrorKind::Usage | ErrorKind::Interrupted => Self::Other,
            ErrorKind::NoRepository | ErrorKind::WrongPassword => Self::Store,
            _ => Self::Source,
        }
    }
}

impl Outcome {
    /// It ended well, or with something missing.
    pub fn of(state: JobState, result: &impl Serialize) -> Self {
        let mut result = serde_json::to_value(result).ok();
        if let Some(result) = &mut result {
            shorten(result);
        }
        Self { state, result, error: None, side: None }
    }

    /// It failed.
    pub fn failed(error: &EngineError) -> Self {
        let state = match error.kind {
            ErrorKind::Interrupted => JobState::Cancelled,
            ErrorKind::Refused => JobState::Refused,
            _ => JobState::Failed,
        };
        Self { state, result: None, error: Some(job_error(error)), side: Some(Side::of(error)) }
    }

    /// It ended in a way that nobody foresaw.
    pub fn broken(text: String) -> Self {
        let error = JobError { kind: "failed", message: text };
        Self { state: JobState::Failed, result: None, error: Some(error), side: Some(Side::Other) }
    }

    /// What the schedule makes of it.
    pub const fn ended(&self) -> Ended {
        match self.state {
            JobState::Failed => Ended::Failed,
            JobState::Refused => Ended::Held,
            _ => Ended::Done,
        }
    }

    /// Whether somebody has to look at it.
    pub const fn is_failure(&self) -> bool {
        matches!(self.state, JobState::Failed | JobState::Refused | JobState::Incomplete)
    }
}

/// Lists of a result that is kept say no more than this many things, and how many there were.
const LISTED: usize = 200;

/// Cuts long lists: hundreds of results are kept.
fn shorten(value: &mut Value) {
    match value {
        Value::Array(list) => {
            let all = list.len();
            if all > LISTED {
                list.truncate(LISTED);
                list.push(Value::String(format!("… {all} in all")));
            }
            list.iter_mut().for_each(shorten);
        }
        Value::Object(fields) => fields.values_mut().for_each(shorten),
        _ => {}
    }
}

impl<T: Into<Self>> From<Result<T, EngineError>> for Outcome {
    fn from(result: Result<T, EngineError>) -> Self {
        match result {
            Ok(done) => done.into(),
            Err(error) => Self::failed(&error),
        }
    }
}
