import { WhetstoneError } from '@whetstone/core/contract';
import type { Problem } from '@whetstone/core/contract';
import type { SupervisionFindings, TurnFinding } from './observe.js';

const problemOf =
  (what: string) =>
  ({ origin, message, detail }: TurnFinding): Problem => ({
    message: `${what} (message ${message + 1}): ${detail}`,
    ...(origin.file === undefined
      ? {}
      : { place: { file: origin.file, ...(origin.line === undefined ? {} : { line: origin.line }) } }),
  });

/** Everything that is wrong with a data set's supervision, as sentences; empty where nothing is. */
export function supervisionProblems({
  turns,
  withoutStop,
  prefixesChecked,
  otherPrefix,
}: SupervisionFindings): Problem[] {
  const problems: Problem[] = [];
  if (withoutStop.count > 0) {
    problems.push(
      {
        message: `The end of ${withoutStop.count} of ${turns} turns is not learned: the model would not learn to stop.`,
        hint: "The chat template must end each assistant's turn with the token that stops generation.",
      },
      ...withoutStop.first.map(problemOf("the turn's end is not learned")),
    );
  }
  if (otherPrefix.count > 0) {
    problems.push(
      {
        message:
          `Before ${otherPrefix.count} of ${prefixesChecked} turns, training shows the model another text than ` +
          'serving would.',
        hint:
          'The chat template writes a conversation differently once it is answered: its prompt may open a ' +
          'thought that the turns do not have, or it drops earlier thoughts. Train on the last turn only ' +
          '("lastTurnOnly": true), give the turns what the prompt opens, or use another template.',
      },
      ...otherPrefix.first.map(problemOf('the prompt differs')),
    );
  }
  return problems;
}

/** The findings in a sentence each, without the places. */
export function supervisionWarnings(findings: SupervisionFindings): string[] {
  return supervisionProblems(findings).flatMap(({ message, hint }) =>
    hint === undefined ? [] : [`${message} ${hint}`],
  );
}

/** @throws DATA_SUPERVISION where a turn's end is not learned, or training and serving render differently */
export function checkSupervision(findings: SupervisionFindings): void {
  const [first, ...others] = supervisionProblems(findings);
  if (!first) return;
  throw new WhetstoneError('DATA_SUPERVISION', first.message, {
    ...(first.hint === undefined
      ? {}
      : { hint: `${first.hint} To train all the same, set "supervisionProof" to "warn".` }),
    problems: others,
    details: { ...findings },
  });
}
