// Downloads a model, fine-tunes it on the conversations of examples/data, and shows replies before and after. It uses
// only the public library; `npx whetstone train examples/quickstart/run.json` does the training part.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  BACKEND_RESOLVER,
  createTinyModel,
  fetchModel,
  findTensorflow,
  generateReply,
  installTensorflow,
  isWhetstoneError,
  LOADED_MODEL,
  LOGGER,
  openModel,
  provide,
  putAdapter,
  Trainer,
} from 'whetstone';
import {
  createTerminal,
  describeReport,
  errorAsJson,
  errorAsText,
  installProgress,
  listenForInterrupt,
  terminalLogger,
  trainingProgress,
} from 'whetstone/terminal';

const config = fileURLToPath(new URL('./run.json', import.meta.url));
const prompts = ['Hello! How are you today?', 'What is the capital of Japan?', 'Tell me a joke.'];
// The tests use `--steps 2`.
const steps = process.argv.includes('--steps') ? Number(process.argv[process.argv.indexOf('--steps') + 1]) : null;
const terminal = createTerminal(process.argv.includes('--json'));
const heading = (text) => terminal.line(`\n${terminal.paint.bold(text)}`);
const progress = trainingProgress(terminal);
const interrupt = listenForInterrupt(() => {
  progress.stop();
  terminal.complain('Interrupted: finishing what is at work. Once more ends at once.');
});

/** Runs a task that needs the network; if it fails, explains what happens instead. */
async function tryTo(work, instead) {
  const installing = installProgress(terminal, interrupt.signal);
  try {
    return await work(installing);
  } catch (error) {
    installing.close();
    if (!isWhetstoneError(error) || error.code === 'INTERRUPTED') throw error;
    terminal.complain(`${errorAsText(error, terminal.paint)}\n${terminal.paint.yellow(instead)}`);
    return null;
  } finally {
    installing.close();
  }
}

async function replies(model) {
  const all = [];
  for (const content of prompts) {
    terminal.line(terminal.paint.dim(`> ${content}`));
    let reply = '';
    for await (const { text } of generateReply(
      model,
      [{ role: 'user', content }],
      { maxNewTokens: 40, repetitionPenalty: 1.1 },
      interrupt.signal,
    )) {
      reply += text;
      terminal.write(text);
    }
    terminal.line();
    all.push(reply);
  }
  return all;
}

async function main() {
  heading('1. What is needed');
  const present = await findTensorflow();
  const library =
    'folder' in present
      ? present
      : await tryTo(installTensorflow, 'Continuing without libtensorflow, on a slower backend.');
  if (library !== null) terminal.line(`libtensorflow: ${library.folder}`);
  // Without libtensorflow a real model would take hours; a tiny one takes a minute.
  const folder =
    library === null
      ? null
      : await tryTo(
          (options) => fetchModel('smollm2-135m', options),
          'Continuing with a tiny generated model with random weights.',
        );
  const scratch = steps === null ? null : await mkdtemp(join(tmpdir(), 'whetstone-quickstart-'));
  const runs = scratch ?? fileURLToPath(new URL('../../runs', import.meta.url));
  const modelFolder = folder ?? join(runs, 'quickstart-tiny-model');
  if (folder === null) {
    await rm(modelFolder, { recursive: true, force: true });
    await createTinyModel(modelFolder);
  }
  if (folder !== null) terminal.line(`model:         ${folder}`);
  else terminal.line(`model:         ${modelFolder}, tiny and with random weights`);

  const model = await openModel(modelFolder, {});
  terminal.line(model.backend.reason);
  try {
    heading('2. Replies before');
    const before = await replies(model);

    heading('3. Fine-tuning with LoRA');
    const tiny = [
      'strategy.options.modulesToSave=["lm_head"]',
      'data.maxLength=256',
      'data.truncationMode="keep_end"',
      'training.maxSteps=40',
      'optimizer.learningRate=1e-2',
    ];
    const trainer = new Trainer(config, {
      overrides: [
        `model=${JSON.stringify(modelFolder)}`,
        ...(folder === null ? tiny : []),
        ...(steps === null
          ? []
          : [`training.maxSteps=${steps}`, `output.folder=${JSON.stringify(join(runs, 'quickstart'))}`]),
      ],
      services: [
        provide(LOADED_MODEL, model),
        provide(LOGGER, progress.logger(terminalLogger(terminal))),
        provide(BACKEND_RESOLVER, { resolve: async () => model.backend }),
      ],
    });
    trainer.on('run:start', progress.start).on('step', progress.step).on('evaluate', progress.evaluated);
    const report = await trainer.run({ signal: interrupt.signal });
    progress.stop();
    describeReport(terminal, report);

    heading('4. Replies after');
    const adapterFolder = join(report.outputFolder ?? '', 'adapter');
    const adapter = await putAdapter(model.model, adapterFolder);
    const after = await replies(model);
    adapter.dispose();

    heading('The adapter is yours');
    terminal.line(adapterFolder);
    terminal.line(
      `Talk to it:  npx whetstone chat ${folder === null ? modelFolder : 'smollm2-135m'} --adapter ${adapterFolder}`,
    );
    terminal.result({
      ...report,
      adapterFolder,
      replies: prompts.map((prompt, index) => ({ prompt, before: before[index], after: after[index] })),
    });
  } finally {
    model.dispose();
    if (scratch !== null) await rm(scratch, { recursive: true, force: true });
  }
}

try {
  await main();
} catch (error) {
  progress.stop();
  terminal.complain(errorAsText(error, terminal.paint));
  terminal.result(errorAsJson(error));
  process.exitCode = isWhetstoneError(error) ? error.exitCode : 1;
} finally {
  interrupt.close();
}
