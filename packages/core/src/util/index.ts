/** Helpers that every package uses. They import no other folder. */
export { bytesOf, formatBytes } from './bytes.js';
export { describeFound } from './describe-found.js';
export { didYouMean, nearest } from './did-you-mean.js';
export { duration } from './duration.js';
export { counted, messageOf, toError } from './errors.js';
export { frozen } from './frozen.js';
export { FNV_OFFSET, fnv1a, fnv1aStep } from './hash.js';
export { LruMap } from './lru-map.js';
export { membersOf, misspelledMembers, unknownMembers, type UnknownMember } from './members.js';
export {
  compilePython,
  layerIndexOf,
  matchesName,
  selectsModule,
  type CompilePattern,
  type ModuleSelection,
} from './module-selection.js';
export { jsonProblem } from './plain-json.js';
export { isReasoningPart, REASONING_FIELDS, reasoningBesideText, reasoningOf, reasoningText } from './reasoning.js';
export { isNestedDeeper, isRecord, MAX_JSON_DEPTH, ownValue, sortKeys } from './records.js';
export { withoutContents, withoutCredentials } from './redact.js';
export { isTensorLike, sameShape, sizeOfShape } from './shape.js';
export { testRandom } from './test-random.js';
export { publicUrl, visibleText } from './visible-text.js';
export { boundedPattern, TookTooLong, withinTime, type Pattern } from './within-time.js';
export {
  floatValue,
  integerValue,
  isWrittenNumber,
  parseExact,
  plainNumbers,
  pythonFloat,
  stringifyExact,
  writtenNumber,
} from './written-number.js';
