import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { isWhetstoneError, WhetstoneError, type Json } from '@whetstone/core/contract';
import { ADDITIONAL_TEMPLATES, readText, statOf } from '@whetstone/core/files';

/** Chat templates of a model by name: `default`, and `tool_use` for conversations with tools. */
export interface NamedTemplates {
  readonly templates: ReadonlyMap<string, string>;
  /** The file that contains them. */
  readonly file: string;
}

/**
 * Reads the chat templates of a model folder from the first of: `chatTemplatePath` (a file, or a folder with
 * chat_template.jinja), chat_template.jinja with additional_chat_templates/*.jinja, `chat_template` in
 * tokenizer_config.json. The last is a string or a list of named templates. Returns null if there is none.
 *
 * @throws `TEMPLATE_FAILED` if a file cannot be read or the list is invalid
 */
export async function readTemplates(
  folder: string,
  config: Readonly<Record<string, Json>>,
  chatTemplatePath?: string | null,
): Promise<NamedTemplates | null> {
  if (chatTemplatePath !== undefined && chatTemplatePath !== null) {
    const isFolder = (await statOf(chatTemplatePath))?.isDirectory() === true;
    const file = isFolder ? join(chatTemplatePath, 'chat_template.jinja') : chatTemplatePath;
    return single(file, await readTemplate(file));
  }
  const file = join(folder, 'chat_template.jinja');
  const found = await readText(file).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === 'ENOENT') return null;
    throw unreadable(file, cause);
  });
  if (found !== null) return { templates: new Map([['default', found], ...(await additional(folder))]), file };
  return configured(config['chat_template'], join(folder, 'tokenizer_config.json'));
}

function configured(written: Json | undefined, file: string): NamedTemplates | null {
  if (typeof written === 'string') return single(file, written);
  if (!Array.isArray(written)) return null;
  const templates = new Map<string, string>();
  for (const entry of written) {
    const isNamed =
      typeof entry === 'object' &&
      entry !== null &&
      !Array.isArray(entry) &&
      typeof entry['name'] === 'string' &&
      typeof entry['template'] === 'string';
    if (!isNamed)
      throw new WhetstoneError('TEMPLATE_FAILED', 'An entry of the list of chat templates is invalid.', {
        place: { file, path: 'chat_template' },
        expected: '{"name": …, "template": …}',
        found: JSON.stringify(entry).slice(0, 80),
      });
    templates.set(String(entry['name']), String(entry['template']));
  }
  return templates.size === 0 ? null : { templates, file };
}

async function additional(folder: string): Promise<[string, string][]> {
  const path = join(folder, ADDITIONAL_TEMPLATES);
  const names = await readdir(path).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === 'ENOENT') return [];
    throw unreadable(path, cause);
  });
  const templates: [string, string][] = [];
  for (const name of names.filter((one) => one.endsWith('.jinja')).sort())
    templates.push([name.slice(0, -'.jinja'.length), await readTemplate(join(path, name))]);
  return templates;
}

const single = (file: string, template: string): NamedTemplates => ({
  templates: new Map([['default', template]]),
  file,
});

async function readTemplate(file: string): Promise<string> {
  return readText(file).catch((cause: NodeJS.ErrnoException) => {
    throw unreadable(file, cause);
  });
}

function unreadable(file: string, cause: Error): WhetstoneError {
  if (isWhetstoneError(cause)) return cause;
  return new WhetstoneError('TEMPLATE_FAILED', 'The chat template cannot be read.', {
    place: { file },
    cause,
    hint: 'Check chatTemplatePath.',
  });
}
