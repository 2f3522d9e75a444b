import type { DataTransform, TransformReport } from '@whetstone/core/contract';

/** The column of conversations that an augmentation made. */
export const AUGMENTATION_COLUMN = 'augmentation';

/** The name of the transform that holds out a share of the data. */
export const SPLIT_NAME = 'data.evalShare';

/** What the split counts if it sees conversations that were augmented before. */
export const AUGMENTED_BEFORE = 'augmented before';

interface Step {
  readonly name: string;
  /** Whether it compares with evaluation data. */
  readonly isAgainst: boolean;
}

/** An order that cannot be meant: a transform before another one. */
interface WrongOrder {
  readonly first: (step: Step) => boolean;
  readonly second: (step: Step) => boolean;
  readonly why: string;
}

const augments = ({ name }: Step): boolean => name.startsWith('augment-');

const wrongOrders: readonly WrongOrder[] = [
  {
    first: augments,
    second: ({ name, isAgainst }) => name === 'decontaminate' || (name === 'deduplicate' && isAgainst),
    why: 'Changed copies of evaluation data are not recognized as such, and stay in the training data.',
  },
  {
    first: augments,
    second: ({ name, isAgainst }) => name === 'deduplicate' && !isAgainst,
    why: 'It removes the copies that were just made, as they are similar to their originals.',
  },
  {
    first: augments,
    second: ({ name }) => name === SPLIT_NAME,
    why: 'Copies of evaluation data stay in the training data, and evaluation data contains copies.',
  },
  {
    first: ({ name }) => name === 'augment-paraphrase',
    second: ({ name }) => name === 'redact',
    why: 'The model that paraphrases receives the personal data.',
  },
  {
    first: ({ name }) => name === 'augment-turns',
    second: ({ name }) => name === 'topics',
    why: 'Exchanges are joined by topic, which the conversations do not have yet.',
  },
];

/** Returns a warning for each pair of transforms whose order cannot be meant. */
export function orderWarnings(transforms: readonly DataTransform[]): string[] {
  const steps = transforms.map(({ report, trainOnly }) => ({
    name: report?.name ?? '',
    isAgainst: trainOnly === true,
  }));
  return wrongOrders.flatMap(({ first, second, why }) => {
    const last = steps.findLastIndex(second);
    const early = steps.slice(0, Math.max(0, last)).find(first);
    const late = steps[last];
    if (early === undefined || late === undefined) return [];
    return [`data.transforms: "${early.name}" comes before "${late.name}". ${why} Put "${late.name}" first.`];
  });
}

/** Returns a warning if the data was augmented before it was split; null otherwise. */
export function splitWarning(reports: readonly TransformReport[]): string | null {
  const count = reports.find(({ name }) => name === SPLIT_NAME)?.changed[AUGMENTED_BEFORE] ?? 0;
  return count === 0
    ? null
    : `${SPLIT_NAME} splits data that was augmented before: ${count} conversations have the column ` +
        `"${AUGMENTATION_COLUMN}". Copies of evaluation data can be in the training data. Split the original ` +
        'data, and augment with data.transforms.';
}
