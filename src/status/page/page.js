(() => {
  'use strict';
  const d = document, get = (id) => d.getElementById(id);
  const live = get('live');
  if (!live) return;
  const PAUSE = 250, LOOK = 15000, PATIENCE = 10000;
  let seen = +get('main').dataset.event, busy = false, again = false, stream = null;

  function tell(word, lost) {
    if (live.textContent !== word) live.textContent = word;
    live.className = lost ? 'lost' : '';
  }

  // Makes one node like another, and leaves alone what is like it already: focus, scrolling and selections stay.
  function like(old, fresh) {
    if (old.isEqualNode(fresh)) return;
    if (old.nodeName !== fresh.nodeName) return old.replaceWith(fresh);
    if (old.nodeType !== 1) { old.nodeValue = fresh.nodeValue; return; }
    for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
    for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    const kept = [...old.childNodes], wanted = [...fresh.childNodes];
    wanted.forEach((node, at) => (at < kept.length ? like(kept[at], node) : old.append(node)));
    kept.slice(wanted.length).forEach((node) => node.remove());
  }

  function show(fresh) {
    const style = (page) => page.querySelector('style')?.textContent;
    if (!fresh.getElementById('main') || style(fresh) !== style(d)) return location.reload();
    const before = d.querySelector('h1').textContent;
    for (const id of ['made', 'main']) like(get(id), fresh.getElementById(id));
    d.title = fresh.title;
    seen = Math.max(seen, +get('main').dataset.event);
    const now = d.querySelector('h1').textContent;
    if (now !== before) get('say').textContent = now;
  }

  async function look() {
    if (busy) { again = true; return; }
    busy = true;
    try {
      const answer = await fetch(location.href, { cache: 'no-store', signal: AbortSignal.timeout(PATIENCE) });
      if (answer.status === 401 || answer.redirected) return location.reload();
      if (!answer.ok) throw answer.status;
      show(new DOMParser().parseFromString(await answer.text(), 'text/html'));
      tell(stream ? 'live' : 'every 15 s');
    } catch {
      tell('no answer, trying again', true);
    } finally {
      busy = false;
    }
    if (again) { again = false; setTimeout(look, PAUSE); }
  }

  function listen() {
    const opened = stream = new EventSource('api/v1/events');
    opened.onopen = () => tell('live');
    opened.onmessage = (event) => { if (+event.lastEventId > seen) { seen = +event.lastEventId; look(); } };
    opened.onerror = () => {
      tell('no answer, trying again', true);
      if (opened.readyState === 2) stream = null;
    };
  }

  listen();
  setInterval(() => { if (!stream) listen(); if (!d.hidden) look(); }, LOOK);
  d.addEventListener('visibilitychange', () => { if (!d.hidden) look(); });
})();
