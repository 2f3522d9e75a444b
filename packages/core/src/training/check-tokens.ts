import { IGNORED_LABEL, type Batch, type Origin } from '../contract/data.js';
import { WhetstoneError } from '../contract/errors.js';
import type { LanguageModel } from '../contract/model.js';

/**
 * Checks that each token and each label of a batch is in the vocabulary of the model. Some backends read other memory
 * for a label beyond it, some fail without a place.
 *
 * @throws `TOKENIZER_INVALID` with the file and line of the conversation
 */
export function checkTokens(batch: Batch, { vocabularySize }: Pick<LanguageModel, 'vocabularySize'>): void {
  const { ids, labels, length } = batch;
  const isForeign = (id: number): boolean => id < 0 || id >= vocabularySize;
  const id = ids.findIndex(isForeign);
  const label = labels.findIndex((each) => each !== IGNORED_LABEL && isForeign(each));
  const at = id < 0 ? label : id;
  if (at < 0) return;
  const what = id < 0 ? 'label' : 'token id';
  const origin = originAt(batch, at);
  throw new WhetstoneError('TOKENIZER_INVALID', `A ${what} of the data is outside of the model's vocabulary.`, {
    ...(origin?.file === undefined ? {} : { place: { file: origin.file, line: origin.line } }),
    expected: `0 to ${vocabularySize - 1}${id < 0 ? `, or ${IGNORED_LABEL} where nothing is learned` : ''}`,
    found: `${(id < 0 ? labels : ids)[at]} at token ${at % length} of row ${Math.floor(at / length)} of a batch`,
    hint: 'Use the tokenizer of this model. Token ids that a plugin makes must be ids of its vocabulary.',
    ...(origin === undefined ? {} : { details: { origin } }),
  });
}

/** Returns the origin of the conversation to which a token belongs; undefined if it is unknown. */
function originAt({ origins = [], rows, length, segmentIds }: Batch, at: number): Origin | undefined {
  let document = -1;
  for (let token = 0; token <= at; token++) {
    const segment = segmentIds[token] ?? 0;
    if (segment !== 0 && (token % length === 0 || segment !== segmentIds[token - 1])) document++;
  }
  return origins.length === rows ? origins[Math.floor(at / length)] : origins[document];
}
