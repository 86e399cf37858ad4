// The log of a run as it grows. Pure.

// Adds an answer of /page/runs/NAME to what is known. A resumed run writes some steps again: what
// it had from there on is dropped. A run begun anew has fewer lines: everything is replaced.
export function merged(known, answer) {
  if (!known || answer.lines < known.lines) return { ...answer };
  const first = Math.min(answer.steps[0]?.[0] ?? Infinity, answer.evaluations[0]?.step ?? Infinity);
  return {
    ...answer,
    unreadable: known.unreadable + answer.unreadable,
    steps: [...known.steps.filter((step) => step[0] < first), ...answer.steps],
    evaluations: [...known.evaluations.filter((one) => one.step < first), ...answer.evaluations],
  };
}
