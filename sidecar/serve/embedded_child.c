/*
 * embedded_child: the programs of PostgreSQL: whether they are there, and their processes; see
 * embedded_internal.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "serve/embedded_internal.h"
#include "base/log.h"

#define POLL_MS 1
#define STOP_POLL_MS 20 /* how long a signal to stop may go unnoticed */

bool embedded_check_programs(const struct config *config, struct buf *error)
{
	static const char *const programs[] = {"initdb", "postgres"};
	char path[PATH_MAX];

	for (size_t i = 0; i < sizeof(programs) / sizeof(programs[0]); i++)
	{
		snprintf(path, sizeof(path), "%s/%s", config->pg_bindir, programs[i]);
		if (access(path, X_OK) == 0)
			continue;
		buf_printf(
			error,
			"could not find PostgreSQL's %s (%s: %s); install the PostgreSQL server, say where it is with"
			" --pg-bindir, or use your own with --database",
			programs[i], path, strerror(errno));
		return false;
	}
	return true;
}

void embedded_pause_ms(unsigned ms)
{
	struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

	nanosleep(&time, NULL);
}

/* In the child: nothing here may allocate or take a lock, see fork(2) about threads. */
static void become_program(const struct embedded *embedded, pid_t parent,
						   const struct embedded_program *program, const struct embedded_account *account,
						   int input, int output)
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL); /* an ignored signal stays ignored over exec */
	if (embedded->is_helper)  /* it has a session, and with it a priority, of its own */
		setpgid(0, 0);
	else
		setsid();
	if (!embedded_dir_become_user(&embedded->dir) || chdir(embedded->dir.path) != 0)
		_exit(126);
	/* After becoming the user: changing it takes the wish back. */
	prctl(PR_SET_PDEATHSIG, program->death_signal);
	if (getppid() != parent)
		_exit(126);
	if (input >= 0)
		dup2(input, STDIN_FILENO);
	if (output >= 0)
	{
		dup2(output, STDOUT_FILENO);
		dup2(output, STDERR_FILENO);
	}
	else
		dup2(STDERR_FILENO, STDOUT_FILENO);
	if (account->library >= 0)
		fcntl(account->library, F_SETFD, 0);
	execve(program->argv[0], program->argv, account->environment ? account->environment : environ);
	_exit(127);
}

pid_t embedded_spawn(const struct embedded *embedded, const struct embedded_program *program)
{
	bool debug = strcmp(embedded->config->log_level, "debug") == 0;
	bool to_log = program->output < 0 && !debug;
	int input = program->input == NULL ? -1 : open(program->input, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	int output =
		to_log ? embedded_dir_create(&embedded->dir, embedded->log, O_WRONLY | O_APPEND) : program->output;
	struct embedded_account account = {.library = -1};
	pid_t parent = getpid();
	pid_t child = -1;

	if ((!to_log || output >= 0) && (program->input == NULL || input >= 0) &&
		(!program->asks_name || embedded_lend_account(embedded, &account)))
		child = fork();
	if (child == 0)
		become_program(embedded, parent, program, &account, input, output);
	embedded_return_account(&account);
	if (input >= 0)
		close(input);
	if (to_log && output >= 0)
		close(output);
	return child;
}

bool embedded_reap(pid_t child, unsigned ms, int *status)
{
	uint64_t until = clock_us() + 1000 * (uint64_t)ms; /* exact: every start waits here */

	for (;;)
	{
		pid_t rc = waitpid(child, status, WNOHANG);

		if (rc == child || (rc < 0 && errno != EINTR))
			return true;
		if (clock_us() >= until)
			return false;
		embedded_pause_ms(POLL_MS);
	}
}

/*
 * Ends a program and what it started.  initdb looks for signals between its steps only, which take long at a
 * helper's priority; whatever it leaves is removed with the helper's folder.
 */
static void end_program(const struct embedded *embedded, pid_t child)
{
	int status;

	if (!embedded->is_helper)
		kill(child, SIGTERM);
	else if (kill(-child, SIGKILL) != 0) /* it has yet to begin its group */
		kill(child, SIGKILL);
	waitpid(child, &status, 0);
}

bool embedded_run(const struct embedded *embedded, const struct embedded_program *program, struct buf *error)
{
	pid_t child = embedded_spawn(embedded, program);
	bool exited = false;
	int status = 0;

	if (child < 0)
	{
		buf_printf(error, "could not start %s: %s", program->argv[0], strerror(errno));
		return false;
	}
	while (!exited && !embedded->stopping())
		exited = embedded_reap(child, STOP_POLL_MS, &status);
	if (!exited)
	{
		end_program(embedded, child);
		buf_add_str(error, "stopped while making the data directory");
		return false;
	}
	if (status != 0)
		embedded_explain_failure(embedded, program->argv[0], status, error);
	return status == 0;
}

bool embedded_ask(const struct embedded *embedded, char *const *argv, char *answer, size_t size)
{
	size_t len = 0;
	int status = -1;
	int ends[2];
	ssize_t n = -1;
	pid_t child;

	if (pipe2(ends, O_CLOEXEC) != 0)
		return false;
	child = embedded_spawn(embedded,
						   &(struct embedded_program){
							   .argv = argv, .death_signal = SIGKILL, .output = ends[1], .asks_name = true});
	close(ends[1]);
	while (child > 0 && len < size &&
		   ((n = read(ends[0], answer + len, size - len)) > 0 || (n < 0 && errno == EINTR)))
		len += n > 0 ? (size_t)n : 0;
	close(ends[0]); /* a program that says more gets a SIGPIPE */
	if (child > 0)
		waitpid(child, &status, 0);
	if (n != 0 || len == size || status != 0)
		return false;
	answer[len] = '\0';
	return true;
}

void embedded_describe_status(int status, char *out, size_t size)
{
	if (WIFSIGNALED(status))
		snprintf(out, size, "was ended by signal %d", WTERMSIG(status));
	else
		snprintf(out, size, "exited with code %d", WEXITSTATUS(status));
}

void embedded_read_log_tail(const struct embedded *embedded, char out[EMBEDDED_LOG_TAIL + 1])
{
	FILE *file = fopen(embedded->log, "re");
	size_t len = 0;

	if (file != NULL)
	{
		if (fseek(file, -EMBEDDED_LOG_TAIL, SEEK_END) != 0)
			rewind(file);
		len = fread(out, 1, EMBEDDED_LOG_TAIL, file);
		fclose(file);
	}
	out[len] = '\0';
}

void embedded_explain_failure(const struct embedded *embedded, const char *program, int status,
							  struct buf *error)
{
	char how[64];
	char tail[EMBEDDED_LOG_TAIL + 1];

	embedded_describe_status(status, how, sizeof(how));
	embedded_read_log_tail(embedded, tail);
	buf_printf(error, "%s %s; the end of %s:\n%s", program, how, embedded->log, tail);
}

bool embedded_become_helper(struct embedded *embedded, pid_t parent)
{
	setsid();
	signal(SIGTERM, SIG_DFL);
	signal(SIGINT, SIG_DFL);
	signal(SIGHUP, SIG_DFL);
	if (!embedded_dir_become_user(&embedded->dir))
		return false;
	embedded->dir.drop = false;
	embedded->is_helper = true;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	return getppid() == parent;
}
