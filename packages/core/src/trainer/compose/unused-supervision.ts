import type { BatchOptions, DataSummary, RoleCounts, TurnCounts, UnusedOption } from '../../contract/index.js';
import { nearest, ownValue } from '../../util/index.js';

/** The options of supervision in the section `data`. */
type Data = Pick<BatchOptions, 'assistantOnlyLoss' | 'rolesToTrain' | 'lastTurnOnly' | 'roleWeights'> & {
  readonly completionOnlyLoss: boolean | null;
};

/** The most roles of the data that a message names. */
const NAMED_ROLES = 12;

const noChat = 'no conversation of the training data is a chat';

/** Returns that the data lacks a role, which role was probably meant, and which roles the data has. */
function absentRole(role: string, roles: readonly RoleCounts[]): string {
  const names = roles.map((each) => each.role);
  const meant = nearest(role, names);
  const others = names.length > NAMED_ROLES ? `, and ${names.length - NAMED_ROLES} others` : '';
  return (
    `no conversation of the training data has the role "${role}"` +
    `${meant === undefined ? '' : ` (did you mean "${meant}"?)`}; ` +
    `its roles are ${names.slice(0, NAMED_ROLES).join(', ')}${others}`
  );
}

function unusedRoles({ rolesToTrain }: Data, { roles }: TurnCounts): readonly UnusedOption[] {
  return rolesToTrain.flatMap((role, index) => {
    const path = `data.rolesToTrain[${index}]`;
    const counts = roles.find((each) => each.role === role);
    if (rolesToTrain.indexOf(role) < index) return [{ path, reason: `"${role}" is named before` }];
    if (counts === undefined) return [{ path, reason: absentRole(role, roles) }];
    return counts.byRole > 0
      ? []
      : [{ path, reason: `each turn of the role "${role}" has its own "train" or is in a prompt that is excluded` }];
  });
}

function unusedWeights({ roleWeights }: Data, { roles }: TurnCounts): readonly UnusedOption[] {
  return Object.entries(roleWeights).flatMap(([role, weight]) => {
    const path = `data.roleWeights["${role}"]`;
    const counts = roles.find((each) => each.role === role);
    if (counts === undefined) return [{ path, reason: absentRole(role, roles) }];
    if (weight === 1 || counts.weighted > 0) return [];
    const reason = counts.supervised === 0 ? 'is supervised' : 'takes its weight from its role';
    return [{ path, reason: `no turn of the role "${role}" ${reason}` }];
  });
}

/** Returns the weight of every target token, if the roles decide all weights and give one only; null otherwise. */
function onlyWeight(data: Data, { roles, pairs, chats }: TurnCounts, conversations: number): number | null {
  const isTurnsOnly = data.assistantOnlyLoss || data.lastTurnOnly;
  if (!isTurnsOnly || chats < conversations || pairs > chats) return null;
  const supervised = roles.filter((role) => role.supervised > 0);
  if (supervised.some((role) => role.weighted < role.supervised)) return null;
  const weights = new Set(
    supervised.map(({ role }) => ownValue(data.roleWeights, role) ?? 1).filter((weight) => weight > 0),
  );
  const [weight] = weights;
  return weights.size === 1 && weight !== undefined ? weight : null;
}

function unusedPrompts({ assistantOnlyLoss, completionOnlyLoss }: Data, turns: TurnCounts): string | null {
  if (turns.pairs === 0)
    return (
      'no conversation of the training data is a pair of prompt and completion' +
      (turns.chats > 0 ? '; data.assistantOnlyLoss decides which turns of a chat are supervised' : '')
    );
  if (completionOnlyLoss !== false || turns.maskedPrompts > 0 || !assistantOnlyLoss) return null;
  return (
    'data.assistantOnlyLoss is true and no prompt has a turn of data.rolesToTrain; to supervise prompts, set ' +
    'data.assistantOnlyLoss to false'
  );
}

/**
 * Returns the options of supervision that the user wrote and that change nothing in the training data: roles that it
 * lacks, options of chats or pairs without any, and weights that are the same for every target token.
 *
 * @param isSet returns whether the user wrote an option, as opposed to its default
 */
export function unusedSupervision(
  data: Data,
  isSet: (key: keyof Data) => boolean,
  { turns, conversations }: Pick<DataSummary, 'turns' | 'conversations'>,
): readonly UnusedOption[] {
  if (turns === undefined) return [];
  const unused: UnusedOption[] = [];
  const report = (key: keyof Data, reason: string): void => void unused.push({ path: `data.${key}`, reason });
  if (isSet('completionOnlyLoss') && data.completionOnlyLoss !== null) {
    const reason = unusedPrompts(data, turns);
    if (reason !== null) report('completionOnlyLoss', reason);
  }
  if (turns.chats === 0) {
    if (isSet('assistantOnlyLoss')) report('assistantOnlyLoss', noChat);
    if (isSet('rolesToTrain') && data.assistantOnlyLoss) report('rolesToTrain', noChat);
    if (data.lastTurnOnly) report('lastTurnOnly', noChat);
    if (Object.keys(data.roleWeights).length > 0) report('roleWeights', noChat);
    return unused;
  }
  if (data.lastTurnOnly && data.assistantOnlyLoss && turns.withSeveralTurns === 0)
    report('lastTurnOnly', 'no chat of the training data has more than one supervised turn');
  if (isSet('rolesToTrain') && data.assistantOnlyLoss) unused.push(...unusedRoles(data, turns));
  unused.push(...unusedWeights(data, turns));
  const weight = onlyWeight(data, turns, conversations);
  if (weight !== null && weight !== 1)
    report('roleWeights', `every target token has the weight ${weight}, and only the ratio of weights counts`);
  return unused;
}
