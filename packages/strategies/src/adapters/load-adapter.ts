import { clone, keep, mul, reshape, type Tensor, type Tensor2D } from '@tensorflow/tfjs-core';
import { WhetstoneError, type LanguageModel, type LinearSite, type Problem } from '@whetstone/core/contract';
import { peftPrefix, readLoraAdapter } from '../lora/from-peft.js';
import { borrowParameters } from '../lora/saved-modules.js';
import { matchesName } from '../lora/targets.js';
import { assignCopy } from '../support/unfreeze.js';
import { storeTokenRows } from '../lora/token-rows.js';
import { loraVariants } from '../lora/variants/index.js';
import { attachPrefix, attachPrompt } from '../prompt/attach.js';
import { configFile, readFields, shapeProblem, tensorFile, throwProblems, type AdapterFiles } from './adapter-files.js';

/** An adapter that is loaded on a model. Several may be loaded on one base, but only one may be active at a time. */
export interface LoadedAdapter {
  readonly peftType: 'LORA' | 'PREFIX_TUNING' | 'PROMPT_TUNING' | 'IA3';
  readonly isActive: boolean;
  /** Attaches the adapter to the model or detaches it. Nothing is read from disk. */
  setActive(active: boolean): void;
  /** Detaches the adapter and disposes its tensors. */
  dispose(): void;
}

/** Attaches an adapter to the model; returns a function that detaches it. */
type Attach = () => () => void;

const peftTypes = ['LORA', 'PREFIX_TUNING', 'PROMPT_TUNING', 'IA3'] as const;

/** Returns the `peft_type` of an adapter. @throws ADAPTER_INVALID if it is missing or not supported. */
export function peftTypeOf(files: AdapterFiles): LoadedAdapter['peftType'] {
  const type = readFields(files).stringOrNull('peft_type');
  const known = peftTypes.find((name) => name === type);
  if (known !== undefined) return known;
  throw new WhetstoneError('ADAPTER_INVALID', 'The type of the adapter is not supported.', {
    place: { file: configFile(files.folder), path: 'peft_type' },
    expected: peftTypes.join(', '),
    found: type ?? 'nothing',
  });
}

/**
 * Loads a PEFT adapter on a model and activates it: LoRA and its variants, prefix tuning, prompt tuning, IA3. The
 * tensors of the files may be disposed afterwards.
 *
 * @throws ADAPTER_INVALID if the adapter does not match the model; lists all problems.
 */
export function loadAdapter(model: LanguageModel, files: AdapterFiles): LoadedAdapter {
  const peftType = peftTypeOf(files);
  const tensors = new Map([...files.tensors].map(([name, tensor]) => [name, keep(clone(tensor))] as const));
  const copiedFiles: AdapterFiles = { ...files, tensors };
  const disposeTensors = (): void => {
    for (const tensor of tensors.values()) tensor.dispose();
  };
  let prepared: { readonly attach: Attach; dispose(): void };
  try {
    prepared = preparers[peftType](model, copiedFiles);
  } catch (error) {
    disposeTensors();
    throw error;
  }
  let detach: (() => void) | null = prepared.attach();
  const setActive = (active: boolean): void => {
    if (active === (detach !== null)) return;
    detach?.();
    detach = active ? prepared.attach() : null;
  };
  return {
    peftType,
    get isActive() {
      return detach !== null;
    },
    setActive,
    dispose: () => {
      setActive(false);
      prepared.dispose();
      disposeTensors();
    },
  };
}

type Prepare = (model: LanguageModel, files: AdapterFiles) => { readonly attach: Attach; dispose(): void };

const prepareLora: Prepare = (model, files) => {
  const adapter = readLoraAdapter(model, files, loraVariants);
  return {
    dispose: adapter.dispose,
    attach: () => {
      const undo = adapter.layers.map((layer) => layer.site.wrap((base) => layer.forward(base, null)));
      const borrowed = borrowParameters(model, [...adapter.replaced.keys()], false);
      for (const [name, parameter] of borrowed.parameters) {
        const value = adapter.replaced.get(name);
        if (value !== undefined) assignCopy(parameter, value);
      }
      undo.push(borrowed.dispose);
      undo.push(storeTokenRows(model, adapter.tokenRows));
      return () => {
        for (const step of undo.reverse()) step();
      };
    },
  };
};

const preparePrefix: Prepare = (model, files) => {
  const embeddings = promptEmbeddings(files, (virtualTokens) => [
    virtualTokens,
    model.attentionSites.reduce((width, site) => width + 2 * site.keyValueHeads * site.headDim, 0),
  ]);
  return { dispose: () => {}, attach: () => attachPrefix(model, () => embeddings) };
};

const preparePrompt: Prepare = (model, files) => {
  const embeddings = promptEmbeddings(files, (virtualTokens) => [virtualTokens, model.hiddenSize]);
  return { dispose: () => {}, attach: () => attachPrompt(model, () => embeddings) };
};

/** Returns the tensor `prompt_embeddings`, which must have the expected shape. */
function promptEmbeddings(files: AdapterFiles, shapeOf: (virtualTokens: number) => readonly number[]): Tensor2D {
  const fields = readFields(files);
  const virtualTokens = fields.number('num_virtual_tokens', 0);
  const tensor = files.tensors.get('prompt_embeddings');
  const problem =
    tensor === undefined
      ? { message: 'A tensor is missing.', place: { file: tensorFile(files.folder), tensor: 'prompt_embeddings' } }
      : shapeProblem('prompt_embeddings', tensor, shapeOf(virtualTokens), files);
  throwProblems([...fields.problems, ...(problem === null ? [] : [problem])], files);
  return tensor as Tensor2D;
}

/** One layer whose output, or input in feed-forward layers, IA3 scales. */
export interface Ia3Layer {
  readonly site: LinearSite;
  readonly scale: Tensor;
  readonly isFeedforward: boolean;
}

/** Reads an IA3 adapter (Liu et al. 2022). @throws ADAPTER_INVALID if it does not match the model. */
export function readIa3Adapter(model: LanguageModel, files: AdapterFiles): Ia3Layer[] {
  const fields = readFields(files);
  const feedforward = fields.stringOrStrings('feedforward_modules') ?? [];
  const isFeedforward = (name: string): boolean =>
    typeof feedforward === 'string' ? new RegExp(`^(?:${feedforward})$`).test(name) : matchesName(name, feedforward);
  const problems: Problem[] = [...fields.problems];
  const layers: Ia3Layer[] = [];
  for (const [key, scale] of files.tensors) {
    const name = key.replace(peftPrefix, '').replace(/\.ia3_l$/, '');
    const site = key.endsWith('.ia3_l') ? model.linearSites.get(name) : undefined;
    if (site === undefined) {
      problems.push({
        message: 'The model lacks this module.',
        place: { file: tensorFile(files.folder), tensor: key },
      });
      continue;
    }
    const scalesInput = isFeedforward(name);
    const problem = shapeProblem(key, scale, scalesInput ? [1, site.inFeatures] : [site.outFeatures, 1], files);
    if (problem === null) layers.push({ site, scale, isFeedforward: scalesInput });
    else problems.push(problem);
  }
  throwProblems(problems, files);
  return layers;
}

const prepareIa3: Prepare = (model, files) => {
  const layers = readIa3Adapter(model, files);
  return {
    dispose: () => {},
    attach: () => {
      const undo = layers.map(({ site, scale, isFeedforward }) =>
        site.wrap((base) => (input) => {
          const flat = reshape(scale, [-1]);
          return isFeedforward ? base(mul(input, flat)) : mul(base(input), flat);
        }),
      );
      return () => {
        for (const step of undo.reverse()) step();
      };
    },
  };
};

const preparers: Readonly<Record<LoadedAdapter['peftType'], Prepare>> = {
  LORA: prepareLora,
  PREFIX_TUNING: preparePrefix,
  PROMPT_TUNING: preparePrompt,
  IA3: prepareIa3,
};
