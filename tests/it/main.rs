//! End-to-end tests: the real binary, real brokers, and readers that this project did not write.

mod bad_input;
mod brokers;
mod callback;
mod cli;
mod clients;
mod copies;
mod demo;
mod deploy;
mod destinations;
mod hostile;
mod layout;
mod load;
mod main_job;
mod outage;
mod own;
mod queue;
mod queue_faults;
mod queue_samples;
mod refusals;
mod restart;
mod send;
mod signature;
mod simulate;
mod simulator;
mod topology;
mod workload;
