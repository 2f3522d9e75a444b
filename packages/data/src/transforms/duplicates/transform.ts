import { createConversationSource } from '../../sources/conversations.js';
import { createTransform, recipeOf, type Decide, type ReportingTransform, type Stage } from '../transform-log.js';
import {
  createDuplicateFinder,
  defaultDuplicateOptions,
  fingerprintOf,
  placeOf,
  type Duplicate,
  type DuplicateOptions,
} from './finder.js';
import { finderOf, leakageError } from './leakage.js';

export interface DeduplicateOptions extends DuplicateOptions {
  /** Files of evaluation data that no conversation may repeat. */
  readonly against: readonly string[];
  /** What it means where one does. */
  readonly onLeak: 'error' | 'drop';
}

const describe = ({ kind, of, similarity }: Duplicate): string =>
  kind === 'exact' ? `the same as ${placeOf(of)}` : `${Math.round(similarity * 100)} % like ${placeOf(of)}`;

/**
 * A transform that takes out conversations which repeat an earlier one: the first of them stays. With `against`, what
 * repeats evaluation data is an error (DATA_LEAKAGE), or taken out; the transform is then for training data alone.
 */
export function createDeduplicateTransform(
  options: Partial<DeduplicateOptions> = {},
  baseFolder = '.',
): ReportingTransform & { readonly trainOnly: boolean } {
  const all: DeduplicateOptions = { against: [], onLeak: 'error', ...defaultDuplicateOptions, ...options };
  const begin = async (): Promise<Decide> => {
    const own = createDuplicateFinder(all);
    const held =
      all.against.length === 0
        ? null
        : await finderOf(await createConversationSource({ path: all.against }, baseFolder), all);
    return (fingerprint, origin, log) => {
      const leak = held?.find(fingerprint) ?? null;
      if (leak) {
        if (all.onLeak === 'error')
          throw leakageError({ count: 1, first: [{ train: origin, eval: leak.of, similarity: leak.similarity }] });
        log.remove({ origin }, 'in-evaluation-data', describe(leak));
        return false;
      }
      const duplicate = own.find(fingerprint);
      if (duplicate) {
        log.remove({ origin }, `${duplicate.kind}-duplicate`, describe(duplicate));
        return false;
      }
      own.add(fingerprint, origin);
      return true;
    };
  };
  const stage: Stage = { kind: 'decide', fingerprint: (conversation) => fingerprintOf(conversation, all), begin };
  const transform = createTransform('deduplicate', stage, recipeOf('deduplicate', all, baseFolder, all.against));
  return {
    trainOnly: all.against.length > 0,
    transform: transform.transform,
    stage: transform.stage,
    ...(transform.recipe === undefined ? {} : { recipe: transform.recipe }),
    get report() {
      return transform.report;
    },
  };
}
