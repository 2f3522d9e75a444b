import type { LoadedModel } from '@whetstone/core/contract';
import { loadLanguageModel, loadRenderer, loadTokenizer } from '@whetstone/models';

/** A model with its tokenizer and chat template, from its Hugging Face folder. Text first: it fails sooner and costs less. */
export async function loadModel(folder: string, options: { readonly chatTemplatePath?: string | null } = {}): Promise<LoadedModel> {
  const tokenizer = await loadTokenizer(folder);
  const renderer = await loadRenderer(folder, tokenizer, options);
  return { model: await loadLanguageModel(folder), tokenizer, renderer };
}
