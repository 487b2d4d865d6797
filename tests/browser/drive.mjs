// Drives a browser for the tests in tests/it/browser.rs: one JSON command a line, one JSON answer a line.
//
// What is right or wrong is said there; this only does what it is told, and tells what it sees.

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { chromium } from 'playwright-core';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const browser = await chromium.launch({
  executablePath: process.argv[2],
  args: [
    '--no-sandbox', '--disable-gpu', '--disable-quic', '--disable-dev-shm-usage', '--no-first-run',
    '--disable-background-networking', '--disable-component-update', '--disable-sync',
    // No name is resolved, so nothing leaves this host.
    `--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE ${process.argv[3]}`,
  ],
});
let page, complaints, requests;

const deeds = {
  async open({ url, width = 1280, height = 900, scheme = 'light', script = true, motion = 'reduce' }) {
    await page?.context().close();
    [complaints, requests] = [[], []];
    const context = await browser.newContext({
      viewport: { width, height }, colorScheme: scheme, javaScriptEnabled: script, reducedMotion: motion,
    });
    page = await context.newPage();
    page.on('console', (said) => ['error', 'warning'].includes(said.type()) && complaints.push(said.text()));
    page.on('pageerror', (error) => complaints.push(String(error)));
    page.on('request', (request) => requests.push(request.url()));
    const answer = await page.goto(url, { waitUntil: 'load' });
    return answer.status();
  },
  // Gives the value of an expression in the page.
  evaluate: ({ expression }) => page.evaluate(expression),
  // Waits until an expression holds, and says after how many milliseconds it did.
  async until({ expression, patience }) {
    const begun = performance.now();
    while (!(await page.evaluate(expression))) {
      if (performance.now() - begun > patience) throw new Error(`it never came true: ${expression}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    return performance.now() - begun;
  },
  press: ({ key }) => page.keyboard.press(key),
  click: ({ selector }) => page.click(selector),
  async picture({ path, whole = false }) {
    await page.screenshot({ path, fullPage: whole });
  },
  // What a check of accessibility finds: by the rules of WCAG 2.2 A and AA, and by what is held for good practice.
  async violations() {
    await page.evaluate(axe);
    const found = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
    return found.violations.map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.map((it) => it.html).slice(0, 3)}`);
  },
  // What the page complained of, and whom it asked, since it was opened.
  told: () => ({ complaints, requests }),
};

for await (const line of createInterface({ input: process.stdin })) {
  const { deed, ...how } = JSON.parse(line);
  let answer;
  try {
    answer = { done: (await deeds[deed](how)) ?? null };
  } catch (error) {
    answer = { failed: String(error) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
await browser.close();
