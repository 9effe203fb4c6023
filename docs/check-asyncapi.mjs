// Says what is wrong with asyncapi.yaml, by AsyncAPI's own parser: faults and warnings, a line each.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Parser } from '@asyncapi/parser';

const KINDS = ['error', 'warning']; // beyond them: that there is a newer version of AsyncAPI
const file = new URL('asyncapi.yaml', import.meta.url);
const { document, diagnostics } = await new Parser().parse(readFileSync(file, 'utf8'), { source: fileURLToPath(file) });
const faults = diagnostics.filter(({ severity }) => severity < KINDS.length);
for (const { severity, message, path, range } of faults) {
  console.error(`asyncapi.yaml:${range.start.line + 1}: ${KINDS[severity]}: ${message} (${path.join('.')})`);
}
process.exit(document === undefined || faults.length ? 1 : 0);
