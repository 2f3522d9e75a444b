import { WhetstoneError } from '@whetstone/core/contract';
import type { Conversation, Origin, Place, RoleCounts } from '@whetstone/core/contract';
import { didYouMean, ownValue } from '@whetstone/core/util';
import { countTargets, type NothingToLearnCause, type Tokenized } from '../examples/tokenize.js';
import { supervisedTurns, type SupervisionOptions } from '../examples/supervision.js';
import { placeOf } from '../sources/origins.js';
import type { BatchSourceSummary } from './summary.js';

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

/** Names at most 20 roles, with the number of their turns. */
const listed = (roles: readonly RoleCounts[]): string =>
  roles
    .slice(0, 20)
    .map(({ role, turns }) => `${role} (${turns} ${turns === 1 ? 'turn' : 'turns'})`)
    .join(', ');

/**
 * Returns the option that leaves no supervised role: `rolesToTrain` if the data has none of its roles, `roleWeights` if
 * all of them have weight 0; null otherwise.
 */
function emptyRoles(
  { turns: { roles } }: Pick<BatchSourceSummary, 'turns'>,
  { assistantOnlyLoss, rolesToTrain, roleWeights }: SupervisionOptions,
): { readonly place: Place; readonly hint: string } | null {
  const all = roles.map(({ role }) => role);
  const found = `The data has the roles ${listed(roles)}.`;
  if (all.length === 0) return null;
  const trained = all.filter((role) => !assistantOnlyLoss || rolesToTrain.includes(role));
  if (trained.length === 0) {
    const hints = rolesToTrain.flatMap((role) => didYouMean(role, all) ?? []);
    return {
      place: { path: 'data.rolesToTrain' },
      hint: [`No conversation has a role of data.rolesToTrain (${rolesToTrain.join(', ')}).`, ...hints, found].join(
        ' ',
      ),
    };
  }
  if (!trained.every((role) => ownValue(roleWeights, role) === 0)) return null;
  return {
    place: { path: 'data.roleWeights' },
    hint: `data.roleWeights has the weight 0 for each supervised role (${trained.join(', ')}). ${found}`,
  };
}

/** Creates the error for samples without target tokens, with counts by cause, the first places, and hints. */
export function nothingToLearn(
  found: readonly SampleWithoutTargets[],
  summary: Pick<BatchSourceSummary, 'conversations' | 'turns'>,
  options: SupervisionOptions,
  message: string,
): WhetstoneError {
  const samples = summary.conversations;
  const causes = (Object.keys(explanations) as NothingToLearnCause[])
    .map((cause) => ({ cause, of: found.filter((sample) => sample.cause === cause) }))
    .filter(({ of }) => of.length > 0);
  const first = found[0]?.origin;
  const option = causes.some(({ cause }) => cause === 'role') ? emptyRoles(summary, options) : null;
  const hintOf = (cause: NothingToLearnCause): string =>
    cause === 'role' && option !== null ? option.hint : explanations[cause].hint;
  return new WhetstoneError('DATA_NOTHING_TO_LEARN', message, {
    place: option?.place ?? (first && placeOf(first)),
    expected: 'at least one target token in every sample',
    found: causes.map(({ cause, of }) => `${of.length} ${explanations[cause].what} (${cause})`).join('; '),
    hint: [
      ...causes.map(({ cause }) => hintOf(cause)),
      ...(found.length < samples ? ['To skip these samples, set "samplesWithoutTargets" to "skip".'] : []),
    ].join(' '),
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
