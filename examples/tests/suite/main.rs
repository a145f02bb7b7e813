//! The programs and what they show: Git histories, stories, processes that die, and what other programs take from them.

mod common;
mod domain;
mod git_history;
mod golden;
mod layers;
mod odd_repositories;
mod processes;
mod programs;
mod quickstart;
mod training_school;
