import { WhetstoneError } from '@whetstone/core/contract';
import type { Conversation, Origin } from '@whetstone/core/contract';
import { countTargets, type NothingToLearnCause, type Tokenized } from '../examples/tokenize.js';
import { supervisedTurns, type SupervisionOptions } from '../examples/supervision.js';
import { placeOf } from '../sources/origins.js';

export interface SampleWithoutTargets {
  readonly origin: Origin;
  readonly cause: NothingToLearnCause;
}

/** Returns why a sample has no target tokens. `full` is the sample before truncation. */
export function causeOf(conversation: Conversation, full: Tokenized, options: SupervisionOptions): NothingToLearnCause {
  if (countTargets(full.supervised) > 0) return 'truncation';
  if (full.ids.length < 2) return 'empty';
  if (conversation.form !== 'chat') return 'empty';
  return supervisedTurns(conversation.messages, options).includes(true) ? 'template' : 'role';
}

const explanations: Readonly<Record<NothingToLearnCause, { readonly what: string; readonly hint: string }>> = {
  empty: { what: 'have no text', hint: 'Remove the empty samples.' },
  role: {
    what: 'have no supervised turn',
    hint:
      'Only the assistant\'s turns are supervised ("assistantOnlyLoss"). Check the roles and "train": false, or map ' +
      'the roles with "roles".',
  },
  template: {
    what: 'have supervised turns that the chat template does not write',
    hint: 'Check the chat template: it drops these turns.',
  },
  truncation: {
    what: 'are truncated before the first target token',
    hint: 'Raise "maxLength", or set "truncationMode" to "drop_turns" or "keep_end".',
  },
};

/** Creates the error for samples without target tokens, with counts by cause, the first places, and hints. */
export function nothingToLearn(
  found: readonly SampleWithoutTargets[],
  samples: number,
  message: string,
): WhetstoneError {
  const causes = (Object.keys(explanations) as NothingToLearnCause[])
    .map((cause) => ({ cause, of: found.filter((sample) => sample.cause === cause) }))
    .filter(({ of }) => of.length > 0);
  const first = found[0]?.origin;
  return new WhetstoneError('DATA_NOTHING_TO_LEARN', message, {
    place: first && placeOf(first),
    expected: 'at least one target token in every sample',
    found: causes.map(({ cause, of }) => `${of.length} ${explanations[cause].what} (${cause})`).join('; '),
    hint:
      `${causes.map(({ cause }) => explanations[cause].hint).join(' ')} To skip these samples, set ` +
      '"samplesWithoutTargets" to "skip".',
    problems: causes.flatMap(({ cause, of }) =>
      of.slice(0, 5).map(({ origin }) => ({
        message: `no target tokens: ${cause}`,
        place: placeOf(origin),
      })),
    ),
    details: {
      samples,
      withoutTargets: found.length,
      causes: Object.fromEntries(causes.map(({ cause, of }) => [cause, of.length])),
    },
  });
}
