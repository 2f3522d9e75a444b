import type { Tensor2D } from '@tensorflow/tfjs-core';
import type { AdapterFiles, LanguageModel, PreparedAdapter } from '@whetstone/core/contract';
import { readFields, shapeProblem, tensorFile, throwProblems } from '../adapters/adapter-files.js';
import { refusedFields } from '../adapters/known-fields.js';
import { attachPrefix, attachPrompt } from './attach.js';

/**
 * Reads a prefix or a prompt for a model; that of P-tuning is a prompt, whose encoder PEFT does not save.
 *
 * @throws `ADAPTER_INVALID` if it does not match the model
 */
export function preparePrompt(model: LanguageModel, files: AdapterFiles): PreparedAdapter {
  const fields = readFields(files);
  const isPrefix = fields.stringOrNull('peft_type') === 'PREFIX_TUNING';
  const width = isPrefix
    ? model.attentionSites.reduce((sum, site) => sum + 2 * site.keyValueHeads * site.headDim, 0)
    : model.hiddenSize;
  const shape = [fields.number('num_virtual_tokens', 0), width];
  const tensor = files.tensors.get('prompt_embeddings');
  const problem =
    tensor === undefined
      ? { message: 'A tensor is missing.', place: { file: tensorFile(files.folder), tensor: 'prompt_embeddings' } }
      : shapeProblem('prompt_embeddings', tensor, shape, files);
  const others = [...files.tensors.keys()].filter((key) => key !== 'prompt_embeddings');
  const unknown = others.map((key) => ({
    message: 'An adapter with virtual tokens has this tensor besides them, which is not supported.',
    place: { file: tensorFile(files.folder), tensor: key },
    expected: 'prompt_embeddings only',
  }));
  const refused = refusedFields(fields, files);
  throwProblems([...fields.problems, ...refused, ...(problem === null ? [] : [problem]), ...unknown], files);
  const attach = isPrefix ? attachPrefix : attachPrompt;
  return { attach: () => attach(model, () => tensor as Tensor2D), dispose: () => {} };
}
