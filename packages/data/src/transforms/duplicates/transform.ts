import { defaultsOf } from '@whetstone/core/contract';
import { createConversationSource } from '../../sources/conversations.js';
import { formatOrigin } from '../../sources/origins.js';
import {
  createTransform,
  recipeOf,
  type FilterFunction,
  type ReportingTransform,
  type TransformStep,
} from '../transform-log.js';
import { createDuplicateFinder, fingerprintOf, type Duplicate } from './finder.js';
import { describeMatch, finderOf, leakageError, onlyLeak } from './leakage.js';
import { deduplicateSchema, type DeduplicateOptions } from './options.js';

const describe = ({ kind, of, similarity }: Duplicate): string =>
  kind === 'exact'
    ? `the same as ${formatOrigin(of)}`
    : `${Math.round(similarity * 100)} % similar to ${formatOrigin(of)}`;

/**
 * Creates a transform that removes conversations which repeat an earlier one. With `against`, it also removes
 * conversations that repeat evaluation data, as a whole, in an exchange or in a long reply, or throws DATA_LEAKAGE; it
 * then applies to training data only.
 */
export function createDeduplicateTransform(
  options: Partial<DeduplicateOptions> = {},
  baseFolder = '.',
): ReportingTransform & { readonly trainOnly: boolean } {
  const all: DeduplicateOptions = { ...defaultsOf(deduplicateSchema), ...options };
  const begin = async (): Promise<FilterFunction> => {
    const own = createDuplicateFinder(all);
    const held =
      all.against.length === 0
        ? null
        : await finderOf(await createConversationSource({ path: all.against }, baseFolder), all);
    return (fingerprint, origin, log) => {
      const leak = held?.find(fingerprint) ?? null;
      if (leak) {
        if (all.onLeak === 'error') throw leakageError(onlyLeak(origin, leak));
        log.remove({ origin }, 'in-evaluation-data', describeMatch(leak));
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
  const step: TransformStep = {
    kind: 'filter',
    fingerprint: (conversation) => fingerprintOf(conversation, { ...all, units: all.against.length > 0 }),
    begin,
  };
  const transform = createTransform(
    'deduplicate',
    step,
    recipeOf('deduplicate', all, baseFolder, [all.against].flat()),
  );
  return {
    trainOnly: all.against.length > 0,
    transform: transform.transform,
    step: transform.step,
    recipe: transform.recipe,
    get report() {
      return transform.report;
    },
  };
}
