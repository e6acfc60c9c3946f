//! Where the memory of the heap was allocated, as a profile for pprof: where jemalloc is the allocator, and profiles.
//!
//! The program asks jemalloc for it at its start, by `MALLOC_CONF=prof:true,prof_active:true` (`_RJEM_MALLOC_CONF` where the
//! allocator's names have a prefix), and links it with its feature `profiling`.

/// Why there is no profile.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// jemalloc does not profile.
    #[error("jemalloc does not profile: start the program with MALLOC_CONF=prof:true,prof_active:true")]
    Off,
    /// It does, and the profile cannot be made.
    #[error("the profile cannot be made: {0}")]
    Failed(String),
}

/// What is allocated now, by where that was: a profile in pprof's form, packed with gzip.
pub async fn heap() -> Result<Vec<u8>, ProfileError> {
    let control = jemalloc_pprof::PROF_CTL.as_ref().ok_or(ProfileError::Off)?;
    let mut control = control.lock().await;
    if !control.activated() {
        return Err(ProfileError::Off);
    }
    control.dump_pprof().map_err(|e| ProfileError::Failed(format!("{e:#}")))
}
