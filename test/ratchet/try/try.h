/* What the files of try share. See try.c. */
#ifndef TRY_H
#define TRY_H

struct step {
	const char *what;
	int (*run)(char *value); /* 0, or -1 with errno */
};

#define S(name) { #name, do_##name }

/* Each ends with a NULL name. */
extern const struct step layer_steps[], file_steps[], process_steps[];

/* closed turns a descriptor into 0, and keeps an error. */
int closed(int fd);
/* second cuts VALUE at its first comma and returns what follows. */
char *second(char *value);
/* raw_layer enters a Landlock layer; see layers.c. */
int raw_layer(char *text);

#endif
