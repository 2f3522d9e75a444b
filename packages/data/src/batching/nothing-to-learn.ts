import { WhetstoneError } from '@whetstone/core/contract';
import type { Conversation, Origin } from '@whetstone/core/contract';
import { countTargets, type NothingToLearnCause, type Tokenized } from '../examples/tokenize.js';
import { supervisedTurns, type SupervisionOptions } from '../examples/supervision.js';

export interface SampleWithoutTargets {
  readonly origin: Origin;
  readonly cause: NothingToLearnCause;
}

/** Why a sample that was cut to nothing to learn from has nothing. `whole` is the sample before it was cut. */
export function causeOf(
  conversation: Conversation,
  whole: Tokenized,
  options: SupervisionOptions,
): NothingToLearnCause {
  if (countTargets(whole.supervised) > 0) return 'truncation';
  if (whole.ids.length < 2) return 'empty';
  if (conversation.form !== 'chat') return 'empty';
  return supervisedTurns(conversation.messages, options).includes(true) ? 'template' : 'role';
}

const explanations: Readonly<Record<NothingToLearnCause, { readonly what: string; readonly hint: string }>> = {
  empty: { what: 'hold no text', hint: 'Remove the empty samples.' },
  role: {
    what: 'have no turn to learn from',
    hint:
      'Nothing but the assistant\'s turns is supervised ("assistantOnlyLoss"); look at the roles and at "train": ' +
      'false, or map the roles with "roles".',
  },
  template: {
    what: 'have turns to learn from that the chat template does not write',
    hint: 'Look at the chat template: it drops these turns.',
  },
  truncation: {
    what: 'are cut before the first token to learn from',
    hint: 'Raise "maxLength", or set "truncationMode" to "drop_turns" or "keep_end".',
  },
};

/** The error for samples without targets: how many for which cause, where the first are, and what helps. */
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
    ...(first?.file === undefined
      ? {}
      : { place: { file: first.file, ...(first.line === undefined ? {} : { line: first.line }) } }),
    expected: 'at least one supervised token in every sample',
    found: causes.map(({ cause, of }) => `${of.length} ${explanations[cause].what} (${cause})`).join('; '),
    hint:
      `${causes.map(({ cause }) => explanations[cause].hint).join(' ')} Or set "samplesWithoutTargets" to "skip" ` +
      'to go on without them.',
    problems: causes.flatMap(({ cause, of }) =>
      of.slice(0, 5).map(({ origin }) => ({
        message: `nothing to learn: ${cause}`,
        ...(origin.file === undefined
          ? {}
          : { place: { file: origin.file, ...(origin.line === undefined ? {} : { line: origin.line }) } }),
      })),
    ),
    details: {
      samples,
      withoutTargets: found.length,
      causes: Object.fromEntries(causes.map(({ cause, of }) => [cause, of.length])),
    },
  });
}
