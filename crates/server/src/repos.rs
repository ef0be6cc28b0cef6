//! The repositories, opened when they are first needed and kept open. All of it blocks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use engine::{EngineError, ErrorKind, Repo};

use crate::config::{Config, RepositoryConfig, Surroundings};

#[derive(Debug)]
struct Slot {
    config: RepositoryConfig,
    open: Mutex<Option<Arc<Repo>>>,
}

impl Slot {
    const fn new(config: RepositoryConfig) -> Self {
        Self { config, open: Mutex::new(None) }
    }
}

/// The primary repository and those that get copies.
#[derive(Debug)]
pub struct Repos {
    primary: Slot,
    copies: BTreeMap<String, Slot>,
    surroundings: Surroundings,
}

impl Repos {
    /// None of them is opened yet.
    pub fn new(config: &Config, surroundings: &Surroundings) -> Self {
        let copies = config.copies.iter().map(|copy| (copy.name.clone(), Slot::new(copy.repository()))).collect();
        Self { primary: Slot::new(config.repository.clone()), copies, surroundings: surroundings.clone() }
    }

    /// The primary repository. Not from a thread that drives asynchronous work.
    pub fn primary(&self) -> Result<Arc<Repo>, EngineError> {
        self.open(&self.primary)
    }

    /// One of those that get copies.
    pub fn copy(&self, name: &str) -> Result<Arc<Repo>, EngineError> {
        let slot = self.copies.get(name).ok_or_else(|| {
            EngineError::new(ErrorKind::Usage, format!("there is no [[copy]] {name:?} in the configuration"))
        })?;
        self.open(slot)
    }

    fn open(&self, slot: &Slot) -> Result<Arc<Repo>, EngineError> {
        let mut open = slot.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(repo) = &*open {
            return Ok(Arc::clone(repo));
        }
        let repo = Arc::new(Repo::open(&slot.config.access(&self.surroundings)?)?);
        *open = Some(Arc::clone(&repo));
        Ok(repo)
    }
}
