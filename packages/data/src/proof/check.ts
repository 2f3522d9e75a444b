import { WhetstoneError } from '@whetstone/core/contract';
import type { Problem } from '@whetstone/core/contract';
import { placeOf } from '../sources/origins.js';
import type { SupervisionFindings, TurnFinding } from './observe.js';

const problemOf =
  (what: string) =>
  ({ origin, message, detail }: TurnFinding): Problem => ({
    message: `${what} (message ${message + 1}): ${detail}`,
    place: placeOf(origin),
  });

/** Returns the problems of a data set's supervision; empty if there are none. */
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
        message:
          `${withoutStop.count} of ${turns} turns have no stop token among their target tokens: the model would not ` +
          'learn to stop.',
        hint: "The chat template must end each assistant's turn with a token that stops generation.",
      },
      ...withoutStop.first.map(problemOf('the turn has no stop token')),
    );
  }
  if (otherPrefix.count > 0) {
    problems.push(
      {
        message:
          `Before ${otherPrefix.count} of ${prefixesChecked} turns, the training text differs from the prompt that ` +
          'serving sends.',
        hint:
          'The chat template renders a prompt differently from an answered conversation: the prompt may open a ' +
          'thinking block that the turns lack, or the template drops earlier thinking blocks. Train on the last turn ' +
          'only ("lastTurnOnly": true), add the thinking blocks to the turns, or use another template.',
      },
      ...otherPrefix.first.map(problemOf('the prompt differs')),
    );
  }
  return problems;
}

/** Returns the problems as one sentence each, without places, and what the template does not write. */
export function supervisionWarnings(findings: SupervisionFindings): string[] {
  return [...problemSentences(findings), ...reasoningWarnings(findings)];
}

/** Returns a warning if the template does not write the reasoning of supervised turns; empty otherwise. */
export function reasoningWarnings({ turns, withoutReasoning: { count, first } }: SupervisionFindings): string[] {
  const [example] = first;
  if (example === undefined) return [];
  const { file, line } = example.origin;
  const place = file === undefined ? '' : ` The first is message ${example.message + 1} of ${file}, line ${line}.`;
  return [
    `The chat template does not write the reasoning of ${count} of ${turns} turns, which is not learned.${place} Use ` +
      'a template that writes it, or train on the last turn only ("lastTurnOnly": true) if only earlier turns lack it.',
  ];
}

function problemSentences(findings: SupervisionFindings): string[] {
  return supervisionProblems(findings).flatMap(({ message, hint }) =>
    hint === undefined ? [] : [`${message} ${hint}`],
  );
}

/**
 * Checks the findings of the supervision proof.
 *
 * @throws `DATA_SUPERVISION` if a turn lacks a stop token, or training and serving render a prompt differently
 */
export function checkSupervision(findings: SupervisionFindings): void {
  const [first, ...others] = supervisionProblems(findings);
  if (!first) return;
  throw new WhetstoneError('DATA_SUPERVISION', first.message, {
    ...(first.hint === undefined
      ? {}
      : { hint: `${first.hint} To train nevertheless, set "supervisionProof" to "warn".` }),
    problems: others,
    details: { ...findings },
  });
}
