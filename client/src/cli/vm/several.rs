//! The same done to several: what went wrong with one is told without holding up the others.

use super::super::Exit;
use super::super::output::Output;
use super::super::problem::Problem;

/// Tells of each problem when it is its turn. Answers what was done, and how the whole ends.
pub(in crate::cli) fn tell<T>(
    output: &mut Output,
    outcomes: impl Iterator<Item = Result<T, Problem>>,
) -> (Vec<T>, Exit) {
    let (mut done, mut ends) = (Vec::new(), Vec::new());
    for outcome in outcomes {
        ends.push(match outcome {
            Ok(one) => {
                done.push(one);
                Exit::Ok
            }
            Err(problem) => {
                output.problem(&problem);
                problem.exit
            }
        });
    }
    (done, Exit::of_several(&ends))
}
