const root = document.documentElement;
document.querySelector('button').onclick = () => {
  const dark = root.dataset.theme ? root.dataset.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
  root.dataset.theme = dark ? 'light' : 'dark';
};
const tip = document.getElementById('tip');
document.addEventListener('mousemove', (event) => {
  const mark = event.target.closest('[data-tip]');
  tip.style.opacity = mark ? 1 : 0;
  if (!mark) return;
  tip.textContent = mark.dataset.tip;
  const left = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8);
  tip.style.left = left + 'px';
  tip.style.top = Math.max(event.clientY - tip.offsetHeight - 12, 8) + 'px';
});
